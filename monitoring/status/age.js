// How old the page is, in words; one that nobody writes anew must not look fresh.
const page = document.documentElement;
const made = Number(page.dataset.made) * 1000, limit = Number(page.dataset.stale) * 1000;
const units = [[90, 1, ""], [5400, 60, "minutes"], [129600, 3600, "hours"], [Infinity, 86400, "days"]];
function tell() {
  const seconds = (Date.now() - made) / 1000;
  const [, unit, name] = units.find(([most]) => seconds < most);
  document.getElementById("age").textContent = name ? `${Math.round(seconds / unit)} ${name} ago` : "just now";
  document.getElementById("stale").hidden = seconds * 1000 < limit;
}
tell();
setInterval(tell, 15000);
