// What the pages do beyond plain HTML. Without it every link and form still works.

// Menus: one open at a time; Escape and a click elsewhere close it.
const menus = document.querySelectorAll("nav.menu details");
const closeMenus = (except) => menus.forEach((menu) => { if (menu !== except) menu.open = false; });
menus.forEach((menu) => menu.addEventListener("toggle", () => { if (menu.open) closeMenus(menu); }));
document.addEventListener("click", (event) => closeMenus(event.target.closest("nav.menu details")));
document.addEventListener("keydown", (event) => {
  const open = document.querySelector("nav.menu details[open]");
  if (event.key === "Escape" && open) { open.open = false; open.querySelector("summary").focus(); }
});

// Dialogs: the link leads to a page of its own where there is no script.
document.querySelectorAll("[data-dialog]").forEach((link) => {
  const dialog = document.getElementById(link.dataset.dialog);
  const show = (event) => { event.preventDefault(); dialog.showModal(); dialog.querySelector("select, input:not([type=hidden]), button").focus(); };
  link.addEventListener("click", show);
  link.addEventListener("keydown", (event) => { if (event.key === " ") show(event); });
  dialog.addEventListener("close", () => link.focus());
});
document.querySelectorAll("dialog [data-close]").forEach((link) =>
  link.addEventListener("click", (event) => { event.preventDefault(); link.closest("dialog").close(); }));

// Each form is sent once; coming back to the page makes it usable again.
const sent = (form, isSent) => {
  form.toggleAttribute("data-sent", isSent);
  form.querySelectorAll("button[type=submit]").forEach((button) => { button.setAttribute("aria-busy", String(isSent)); });
};
document.querySelectorAll("form[data-once]").forEach((form) =>
  form.addEventListener("submit", (event) => {
    if (form.hasAttribute("data-sent")) event.preventDefault();
    else sent(form, true);
  }));
window.addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => sent(form, false)));

// A wrong field gets the focus, so that keyboard and screen reader are where the message is.
document.querySelector("[aria-invalid=true]")?.focus();

// A running job: its progress as it comes; at its end the page loads anew and shows the result.
const watched = document.querySelector("[data-job]");
if (watched) {
  const bar = watched.querySelector("progress");
  const told = watched.querySelector(".told");
  const steps = JSON.parse(watched.dataset.steps);
  const events = new EventSource(watched.dataset.job);
  events.addEventListener("progress", (event) => {
    const { step, done, total } = JSON.parse(event.data);
    if (total) { bar.max = total; bar.value = done; }
    told.textContent = `${steps[step] ?? step}: ${done} / ${total}`;
    if (step === watched.dataset.until) again();
  });
  const again = () => { events.close(); window.location.reload(); };
  events.addEventListener("end", again);
  // The server is gone for a moment, or the session is over: loading anew shows which.
  events.addEventListener("error", () => { if (events.readyState === EventSource.CLOSED) setTimeout(again, 2000); });
}

// A migration that runs: its counts as they change; when its state changes, or another wave begins, the page loads anew.
const moving = document.querySelector("[data-migration]");
if (moving) {
  const stream = new EventSource(moving.dataset.migration);
  const anew = () => { stream.close(); window.location.reload(); };
  const write = (key, value) => document.querySelectorAll(`[data-count="${key}"]`).forEach((cell) => { cell.textContent = value.toLocaleString("en"); });
  const fill = (selector, counts) => document.querySelectorAll(selector).forEach((bar) => { bar.value = counts.moved + counts.failed; });
  stream.addEventListener("status", (event) => {
    const status = JSON.parse(event.data);
    if (String(status.current_wave ?? "") !== moving.dataset.wave) { anew(); return; }
    const states = ["waiting", "reset", "uncertain", "moved", "failed"];
    states.forEach((state) => write(`totals.${state}`, status.totals[state]));
    fill("progress[data-done='']", status.totals);
    status.waves.forEach((wave) => {
      states.forEach((state) => write(`${wave.number}.${state}`, wave[state]));
      fill(`progress[data-done="${wave.number}"]`, wave);
    });
    document.querySelectorAll("[data-count=rate]").forEach((cell) => { cell.textContent = status.rate.toFixed(1); });
  });
  stream.addEventListener("end", anew);
  stream.addEventListener("error", () => { if (stream.readyState === EventSource.CLOSED) setTimeout(anew, 2000); });
}
