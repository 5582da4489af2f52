// SPDX-License-Identifier: MIT
// The page's tabs: what each shows of the traces and profiles, cold beside warm when there are several.
"use strict";

const traceName = t => t.label;

function pick(items, name, show) {
	const place = element("div"), buttons = items.map((item, i) => element("button", { "aria-pressed": i === 0, onclick: () => choose(i) }, name(item)));
	const choose = i => {
		buttons.forEach((b, k) => b.setAttribute("aria-pressed", k === i));
		place.replaceChildren(...[].concat(show(items[i])));
	};
	choose(0);
	return [element("div", { class: "pick" }, ...(items.length > 1 ? buttons : [])), place];
}

function note(text) {
	return element("p", { class: "note" }, text);
}

// ---- summary

const FIGURES = [
	["reads", "Reads", showCount], ["bytes", "Bytes read", showBytes], ["fetched", "Bytes fetched", showBytes],
	["fetches", "Fetches", showCount], ["waits", "Reads that waited", showCount], ["wait", "Time waited, summed", showTime],
	["median", "Median wait", showTime], ["p99", "99 % of waits below", showTime], ["files", "Files", showCount],
	["processes", "Processes", showCount], ["span", "First to last read", showTime],
];

function summary() {
	const all = traces.map(totals);
	const rows = FIGURES.map(([id, name, show]) => element("tr", { "data-figure": id }, element("td", {}, name),
		...all.map((f, i) => element("td", { "data-value": f[id], "data-trace": i }, show(f[id]))),
		...(all.length === 2 ? [element("td", {}, all[0][id] ? (all[1][id] / all[0][id]).toFixed(2) + "x" : "")] : [])));
	const head = element("tr", {}, element("th", {}, ""), ...traces.map(t => element("th", {}, traceName(t))),
		...(all.length === 2 ? [element("th", {}, "second / first")] : []));
	const parts = [element("table", { id: "summary" }, element("thead", {}, head), element("tbody", {}, ...rows))];
	for (const t of traces) {
		const spent = phases(t).filter(p => p.time > 0), whole = sum(spent.map(p => p.time)) || 1;
		parts.push(element("h2", {}, `Where waiting went: ${traceName(t)}`), table([
			{ name: "Phase", text: true, value: p => p.name, show: p => p.name.replace("_", " ") },
			{ name: "Time", value: p => p.time, show: p => showTime(p.time) },
			{ name: "Share", value: p => p.time, show: p => (100 * p.time / whole).toFixed(1) + " %" },
		], spent));
	}
	return parts;
}

// ---- files and processes

function weights(keyName, show) {
	return [
		{ name: keyName, text: true, value: show, show },
		{ name: "Wait", value: r => r.wait, show: r => showTime(r.wait) },
		{ name: "Waits", value: r => r.waits, show: r => showCount(r.waits) },
		{ name: "Reads", value: r => r.reads, show: r => showCount(r.reads) },
		{ name: "Bytes", value: r => r.bytes, show: r => showBytes(r.bytes) },
		{ name: "First at", value: r => r.first, show: r => showTime(r.first) },
	];
}

function files() {
	const heavy = (a, b) => b.wait - a.wait || b.bytes - a.bytes;
	return pick(traces, traceName, t => [
		element("h2", {}, "Files"), table(weights("File", r => t.paths[r.key]), grouped(t, "path").sort(heavy), { id: "files" }),
		element("h2", {}, "Processes"),
		table(weights("Process", r => `${t.processes[r.key].command} (${t.processes[r.key].pid})`), grouped(t, "process").sort(heavy), { id: "processes" }),
		element("h2", {}, "Layers"), table(weights("Layer", r => t.texts[r.key] || "none"), grouped(t, "layer").sort(heavy), { id: "layers" }),
	]);
}

// ---- waterfall

const ROW = 14, LABEL = 180;

// Bars that overlap in time go to rows of their own.
function packed(bars) {
	const ends = [];
	for (const bar of bars.sort((a, b) => a.from - b.from)) {
		let row = ends.findIndex(end => end <= bar.from);
		if (row < 0)
			row = ends.length;
		ends[row] = bar.to;
		bar.row = row;
	}
	return Math.max(1, ends.length);
}

// Of a read that waited, with what came before and after that.
const wholeOf = (t, i) => Math.max(t.reads.wait[i], sum(t.reads.phases.map(p => p[i])));

function lanesOf(t) {
	const lanes = [], fetched = [];
	for (let i = 0; i < t.fetches.time.length; i++)
		fetched.push({ from: t.fetches.time[i], to: t.fetches.time[i] + t.fetches.duration[i], colour: 6,
			text: `${t.texts[t.fetches.why[i]]} of ${t.texts[t.fetches.layer[i]].slice(0, 19)}, ${showBytes(t.fetches.bytes[i])}` });
	if (fetched.length)
		lanes.push({ name: "fetches", bars: fetched });
	t.processes.forEach((p, number) => {
		const bars = [];
		for (let i = 0; i < t.n; i++)
			if (t.reads.process[i] === number && t.reads.wait[i] > 0)
				bars.push({ from: t.reads.time[i], to: t.reads.time[i] + wholeOf(t, i), read: i,
					text: `${t.paths[t.reads.path[i]]} @${t.reads.offset[i]} ${showBytes(t.reads.length[i])}, ${t.texts[t.reads.source[i]]}` });
		if (bars.length)
			lanes.push({ name: `${p.command} (${p.pid})`, bars });
	});
	return lanes;
}

function phasesOf(t, read) {
	return t.phases.map((name, p) => [p, t.reads.phases[p][read]]).filter(([, time]) => time > 0);
}

function waterfall() {
	return [note("Each bar is a fetch, or a read that a process waited for; its colours are where the time went."),
		...pick(traces, traceName, t => {
			const lanes = lanesOf(t).slice(0, 60), end = Math.max(1, ...lanes.flatMap(l => l.bars.map(b => b.to)));
			let height = 20;
			for (const lane of lanes) {
				lane.top = height;
				lane.rows = Math.min(40, packed(lane.bars));
				height += lane.rows * ROW + 8;
			}
			const x = (v, width) => LABEL + v / end * (width - LABEL - 8);
			const drawn = canvas(height, (c, width) => {
				for (const v of ticks(end, 8)) {
					c.fillStyle = ink("dim");
					c.fillText(showTime(v), x(v, width), 9);
					c.fillStyle = ink("line");
					c.fillRect(x(v, width), 18, 1, height);
				}
				for (const lane of lanes) {
					c.fillStyle = ink("ink");
					c.fillText(lane.name.slice(0, 28), 4, lane.top + ROW / 2);
					for (const b of lane.bars.filter(bar => bar.row < lane.rows)) {
						const y = lane.top + b.row * ROW, w = Math.max(1, x(b.to, width) - x(b.from, width));
						c.fillStyle = colour(b.colour ?? 0);
						c.fillRect(x(b.from, width), y, w, ROW - 2);
						let at = b.from;
						for (const [p, time] of b.read === undefined ? [] : phasesOf(t, b.read)) {
							c.fillStyle = colour(p);
							c.fillRect(x(at, width), y, Math.max(0.5, x(at + time, width) - x(at, width)), ROW - 2);
							at += time;
						}
					}
				}
			}, (px, py, width) => {
				const lane = lanes.find(l => py >= l.top && py < l.top + l.rows * ROW);
				const row = lane && Math.floor((py - lane.top) / ROW);
				const bar = lane && lane.bars.find(b => b.row === row && px >= x(b.from, width) - 1 && px <= Math.max(x(b.to, width), x(b.from, width) + 2));
				if (!bar)
					return "";
				const where = bar.read === undefined ? [] : phasesOf(t, bar.read).map(([p, time]) => `${t.phases[p]} ${showTime(time)}`);
				return [`${showTime(bar.from)}: ${showTime(bar.to - bar.from)}`, bar.text, ...where].join("\n");
			});
			drawn.id = "waterfall";
			return [key(t.phases.map(p => p.replace("_", " "))), element("div", { class: "scroll" }, drawn)];
		})];
}

// ---- flame graphs

function flames() {
	const items = [];
	for (const t of traces) {
		items.push({ name: `${traceName(t)}: wait`, tree: () => pathTree(t, "wait"), show: showTime });
		items.push({ name: `${traceName(t)}: bytes`, tree: () => pathTree(t, "bytes"), show: showBytes });
	}
	for (const p of profiles)
		p.types.forEach((type, i) => items.push({ name: `${p.label}: ${type.type}`, tree: () => profileTree(p, i),
			show: v => showUnit(v, type.unit), first: i === p.default_type }));
	return [note("Width is the share; directories hold their files, callers hold who they called. Click zooms in, click again zooms out."),
		...pick(items, item => item.name, item => {
			const root = item.tree();
			return root.value > 0 ? flame(root, item.show, "flame") : note("Nothing: no read waited, or no sample was taken.");
		})];
}

// ---- layers

function layerStrip(t, layer) {
	const cells = 512, map = heat(t, layer, cells), end = Math.max(1, ...t.used.map(u => u.time));
	const unused = sum(map.fetched.map((f, i) => Math.max(0, f - map.used[i])));
	const strip = canvas(34, (c, width) => {
		const w = width / cells;
		for (let i = 0; i < cells; i++) {
			if (map.used[i] > 0) {
				c.fillStyle = `hsl(${220 - 200 * map.first[i] / end} 75% 52%)`;
				c.fillRect(i * w, 0, Math.ceil(w), 34 * Math.min(1, 0.2 + 0.8 * map.used[i] / map.cell));
			}
			if (map.fetched[i] > map.used[i]) {
				c.fillStyle = ink("dim");
				c.fillRect(i * w, 29, Math.ceil(w), 5);
			}
		}
	}, (x, y, width) => {
		const i = Math.floor(x / width * cells);
		if (i < 0 || i >= cells)
			return "";
		return [`bytes ${showBytes(i * map.cell)} on`, map.used[i] > 0 ? `first used at ${showTime(map.first[i])}` : "never used",
			`${showBytes(map.fetched[i])} fetched, ${showBytes(map.used[i])} used`].join("\n");
	});
	strip.className = "strip";
	return [element("h2", {}, t.texts[layer.key].slice(0, 19)),
		note(`${showBytes(layer.size)} of files; ${showBytes(sum(map.used))} used, ${showBytes(sum(map.fetched))} fetched, ` +
			`${showBytes(unused)} of that never used`), strip];
}

function heatMaps() {
	return [note("A layer's contents from its first byte to its last. Colour is when bytes were first used, from blue (early) to red " +
		"(late); the grey foot is what was fetched and never used."),
		...pick(traces, traceName, t => t.layers.filter(l => l.size > 0).flatMap(l => layerStrip(t, l)))];
}

// ---- over time

function overTime() {
	const shown = traces.flatMap(t => [
		{ name: `${traceName(t)}: read`, points: running(t.reads.time, t.reads.length) },
		{ name: `${traceName(t)}: fetched`, points: running(t.fetches.time.map((v, i) => v + t.fetches.duration[i]), t.fetches.bytes) },
	]);
	const counts = traces.map(t => ({ name: traceName(t), counts: latencies(t) }));
	const from = Math.max(0, Math.min(...counts.map(s => s.counts.findIndex(c => c > 0)).filter(i => i >= 0)));
	const to = 32 - Math.min(...counts.map(s => [...s.counts].reverse().findIndex(c => c > 0)).filter(i => i >= 0));
	const labels = [];
	for (let i = from; i < to; i++)
		labels.push(showTime(2 ** i));
	return [element("h2", {}, "Bytes over time"), key(shown.map(l => l.name)), lineChart(shown, showTime, showBytes, "bytes"),
		element("h2", {}, "How long reads waited"), key(traces.map(traceName)),
		isFinite(to) && labels.length ? barChart(counts.map(s => ({ name: s.name, counts: s.counts.slice(from, to) })), labels, "latency")
			: note("No read waited.")];
}

// ---- profiles

function tops() {
	return pick(profiles, p => p.label, p => p.types.flatMap((type, v) => {
		const flat = new Map(), cum = new Map();
		for (const s of p.stacks) {
			flat.set(s.names[0], (flat.get(s.names[0]) || 0) + s.values[v]);
			for (const name of new Set(s.names))
				cum.set(name, (cum.get(name) || 0) + s.values[v]);
		}
		const rows = [...cum.keys()].map(name => ({ name: p.names[name], flat: flat.get(name) || 0, cum: cum.get(name) }));
		return [element("h2", {}, `${p.label}: ${type.type}`), table([
			{ name: "Function", text: true, value: r => r.name, show: r => r.name },
			{ name: "Flat", value: r => r.flat, show: r => showUnit(r.flat, type.unit) },
			{ name: "Cumulative", value: r => r.cum, show: r => showUnit(r.cum, type.unit) },
		], rows.sort((a, b) => b.flat - a.flat), { limit: 100 })];
	}));
}

// ---- the page

const TABS = [
	...(traces.length ? [["Summary", summary], ["Waterfall", waterfall]] : []),
	["Flame graph", flames],
	...(traces.length ? [["Layers", heatMaps], ["Over time", overTime], ["Files", files]] : []),
	...(profiles.length ? [["Functions", tops]] : []),
];

function openTab(number) {
	location.replace("#tab-" + tabId(TABS[number][0]));
	document.querySelectorAll("#tabs button").forEach((b, i) => b.setAttribute("aria-selected", i === number));
	document.getElementById("view").replaceChildren(...[].concat(TABS[number][1]()));
}

const tabId = name => name.toLowerCase().replaceAll(" ", "-");

document.getElementById("what").textContent = DATA.files.join(", ");
const tabs = document.getElementById("tabs");
tabs.append(...TABS.map(([name], i) => element("button", { role: "tab", onclick: () => openTab(i) }, name)));
tabs.hidden = false;
openTab(Math.max(0, TABS.findIndex(([name]) => "#tab-" + tabId(name) === location.hash)));
