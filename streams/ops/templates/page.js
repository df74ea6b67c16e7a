// Keeps the page fresh: fetches it again, and puts what changed in every [data-live] element in place.
// The server writes (and escapes) all markup; scripts inside a parsed document never run.

const EVERY_MS = Number(document.getElementById("main").dataset.poll ?? 0); // 0: nothing to wait for
const KEEP = 120; // points of a full sparkline
const FEW = 30; // fewer points do not stretch over its whole width

const pause = document.getElementById("pause");
const series = new Map(); // name -> numbers, oldest first
let paused = false;
let failing = false;

function refresh(fresh) {
  for (const next of fresh.querySelectorAll("[data-live]")) {
    const old = document.getElementById(next.id);
    // a live part that holds the focus stays until the focus leaves it
    if (!old || old.contains(document.activeElement) || old.innerHTML === next.innerHTML) continue;
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && selection.containsNode(old, true)) continue;
    old.replaceChildren(...next.childNodes);
  }
}

function draw(name) {
  const svg = document.getElementById(`spark-${name}`);
  const points = series.get(name);
  if (!svg || points.length < 2) return;
  const top = Math.max(...points, 1e-9);
  const wide = Math.max(points.length, FEW);
  const xy = points.map((value, index) => {
    const x = ((index + wide - points.length) / (wide - 1)) * 120;
    return `${x.toFixed(1)},${(26 - (value / top) * 24).toFixed(1)}`;
  });
  const make = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const first = xy[0].split(",")[0];
  svg.replaceChildren(
    make("polygon", { class: "area", points: `${first},28 ${xy.join(" ")} 120,28` }),
    make("polyline", { class: "line", points: xy.join(" "), "vector-effect": "non-scaling-stroke" }),
  );
}

function note(page) {
  for (const element of page.querySelectorAll("[data-spark]")) {
    const points = series.get(element.dataset.spark) ?? [];
    points.push(Number(element.dataset.value));
    series.set(element.dataset.spark, points.slice(-KEEP));
    draw(element.dataset.spark);
  }
}

async function look() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!fresh.getElementById("main")) throw new Error(`unexpected answer ${answer.status}`);
    note(fresh);
    refresh(fresh);
    failing = false;
  } catch {
    failing = true; // shown, not logged: a worker that restarts is no fault of the page
  }
  document.body.classList.toggle("stale", failing);
  if (!failing) return;
  document.getElementById("age").textContent = "The worker does not answer; trying again";
  const pill = document.querySelector(".pill");
  if (pill) {
    pill.className = "pill bad";
    pill.textContent = "No answer";
  }
}

async function run() {
  if (!paused && !document.hidden) await look();
  setTimeout(run, failing ? 3 * EVERY_MS : EVERY_MS);
}

note(document);
if (EVERY_MS) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Resume" : "Pause";
  });
  setTimeout(run, EVERY_MS);
}
