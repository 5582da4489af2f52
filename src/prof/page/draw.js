// SPDX-License-Identifier: MIT
// How things are drawn: elements, a table that sorts, line charts and bars as SVG, strips and boxes on canvas. Knows no trace.
"use strict";

const COLOURS = 7;

function colour(i) {
	return getComputedStyle(document.documentElement).getPropertyValue("--c" + i % COLOURS).trim();
}

function ink(name) {
	return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

// element("td", {class: "text"}, "hello", other): text is never markup.
function element(tag, attributes = {}, ...children) {
	const e = document.createElement(tag);
	for (const [key, value] of Object.entries(attributes))
		if (key.startsWith("on"))
			e.addEventListener(key.slice(2), value);
		else if (value !== undefined)
			e.setAttribute(key, value);
	e.append(...children.filter(c => c !== undefined));
	return e;
}

function svg(tag, attributes = {}, ...children) {
	const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
	for (const [key, value] of Object.entries(attributes))
		e.setAttribute(key, value);
	e.append(...children);
	return e;
}

function tip(event, text) {
	const box = document.getElementById("tip");
	box.hidden = !text;
	if (!text)
		return;
	box.textContent = text;
	box.style.left = Math.min(event.clientX + 12, innerWidth - box.offsetWidth - 8) + "px";
	box.style.top = Math.min(event.clientY + 14, innerHeight - box.offsetHeight - 8) + "px";
}

// columns: [{name, text: true?, value: row => sortable, show: row => string}]
function table(columns, rows, { limit = 200, id } = {}) {
	const body = element("tbody");
	let sorted = rows, by = null, down = true;
	const fill = () => {
		body.replaceChildren(...sorted.slice(0, limit).map(row => element("tr", {}, ...columns.map(c =>
			element("td", { class: c.text ? "text" : undefined, title: c.text ? c.show(row) : undefined }, c.show(row))))));
	};
	const sort = column => {
		down = by === column ? !down : !column.text;
		by = column;
		const way = down ? -1 : 1;
		sorted = [...rows].sort((a, b) => column.value(a) < column.value(b) ? -way : column.value(a) > column.value(b) ? way : 0);
		fill();
	};
	fill();
	const head = element("tr", {}, ...columns.map(c =>
		element("th", { class: "sorts" + (c.text ? " text" : ""), onclick: () => sort(c) }, c.name)));
	const parts = [element("div", { class: "scroll" }, element("table", { id }, element("thead", {}, head), body))];
	if (rows.length > limit)
		parts.push(element("p", { class: "note" }, `${showCount(rows.length - limit)} more rows are not shown; sort to see others.`));
	return element("div", {}, ...parts);
}

function key(names) {
	return element("div", { class: "key" }, ...names.map((name, i) =>
		element("span", {}, element("i", { style: `background: var(--c${i % COLOURS})` }), name)));
}

// Round numbers: of tens, or of 1024s.
function ticks(max, count, binary = false) {
	const raw = max / count || 1, base = binary ? 2 : 10, power = base ** Math.floor(Math.log(raw) / Math.log(base));
	const step = (binary ? [1, 2] : [1, 2, 5, 10]).map(f => f * power).find(s => s >= raw * 0.999);
	const out = [];
	for (let v = 0; v <= max * 1.001; v += step)
		out.push(v);
	return out;
}

// lines: [{name, points: [[x, y]]}]
function lineChart(lines, showX, showY, id) {
	const w = 900, h = 280, left = 80, bottom = 26;
	const maxX = Math.max(1, ...lines.flatMap(l => l.points.map(p => p[0])));
	const maxY = Math.max(1, ...lines.flatMap(l => l.points.map(p => p[1])));
	const x = v => left + v / maxX * (w - left - 20), y = v => h - bottom - v / maxY * (h - bottom - 12);
	const chart = svg("svg", { viewBox: `0 0 ${w} ${h}`, width: w, role: "img", id });
	for (const v of ticks(maxY, 5, showY === showBytes))
		chart.append(svg("line", { class: "axis", x1: left, x2: w - 20, y1: y(v), y2: y(v) }),
			svg("text", { class: "dim", x: left - 6, y: y(v) + 4, "text-anchor": "end" }, showY(v)));
	for (const v of ticks(maxX, 8))
		chart.append(svg("text", { class: "dim", x: x(v), y: h - 8, "text-anchor": "middle" }, showX(v)));
	lines.forEach((l, i) => {
		const d = l.points.map((p, k) => k ? `H${x(p[0]).toFixed(1)}V${y(p[1]).toFixed(1)}` : `M${x(p[0])} ${y(p[1])}`).join("");
		chart.append(svg("path", { d, fill: "none", stroke: `var(--c${i % COLOURS})`, "stroke-width": 1.8 }));
	});
	return chart;
}

// series: [{name, counts}], labels: one a count.
function barChart(series, labels, id) {
	const w = 900, h = 240, left = 60, bottom = 26, group = (w - left - 20) / labels.length, bar = group * 0.8 / series.length;
	const max = Math.max(1, ...series.flatMap(s => s.counts));
	const y = v => h - bottom - v / max * (h - bottom - 14);
	const chart = svg("svg", { viewBox: `0 0 ${w} ${h}`, width: w, role: "img", id });
	for (const v of ticks(max, 4))
		chart.append(svg("line", { class: "axis", x1: left, x2: w - 20, y1: y(v), y2: y(v) }),
			svg("text", { class: "dim", x: left - 6, y: y(v) + 4, "text-anchor": "end" }, showCount(v)));
	labels.forEach((label, k) => {
		chart.append(svg("text", { class: "dim", x: left + (k + 0.5) * group, y: h - 8, "text-anchor": "middle" }, label));
		series.forEach((s, i) => chart.append(svg("rect", { x: left + k * group + group * 0.1 + i * bar, y: y(s.counts[k]), width: bar,
			height: h - bottom - y(s.counts[k]), fill: `var(--c${i})` }, svg("title", {}, `${s.name}, from ${label}: ${s.counts[k]}`))));
	});
	return chart;
}

// A canvas that is drawn again when its width changes. draw(context, width, height); hit(x, y) gives the tip's text.
function canvas(height, draw, hit, click) {
	const e = element("canvas", { style: `height: ${height}px` });
	const again = () => {
		const width = e.clientWidth, scale = devicePixelRatio || 1;
		if (!width)
			return;
		e.width = width * scale;
		e.height = height * scale;
		const c = e.getContext("2d");
		c.scale(scale, scale);
		c.font = "11px system-ui, sans-serif";
		c.textBaseline = "middle";
		draw(c, width, height);
	};
	new ResizeObserver(again).observe(e);
	const at = event => { const r = e.getBoundingClientRect(); return [event.clientX - r.left, event.clientY - r.top]; };
	e.addEventListener("mousemove", event => tip(event, hit(...at(event), e.clientWidth)));
	e.addEventListener("mouseleave", event => tip(event, ""));
	if (click)
		e.addEventListener("click", event => { click(...at(event), e.clientWidth); again(); });
	e.redraw = again;
	return e;
}

// A tree as boxes under boxes: click zooms in, click on the root line zooms out.
function flame(root, show, id) {
	const line = 18;
	let top = root, boxes = [];
	const depth = node => 1 + Math.max(0, ...[...node.children.values()].map(depth));
	const place = (node, x, w, level, into) => {
		into.push({ node, x, w, level });
		let at = x;
		for (const child of [...node.children.values()].sort((a, b) => b.value - a.value)) {
			const cw = w * child.value / node.value;
			if (cw >= 0.0004)
				place(child, at, cw, level + 1, into);
			at += cw;
		}
	};
	const find = (x, y, width) => boxes.find(b => b.level === Math.floor(y / line) && b.x * width <= x && x < (b.x + b.w) * width);
	const e = canvas(line * Math.min(60, depth(root)) + 2, (c, width) => {
		boxes = [];
		place(top, 0, 1, 0, boxes);
		for (const b of boxes) {
			let hash = 0;
			for (const ch of b.node.name)
				hash = hash * 31 + ch.charCodeAt(0) & 0xffff;
			c.fillStyle = b.level ? `hsl(${18 + hash % 40} 72% ${58 + hash % 14}%)` : ink("line");
			c.fillRect(b.x * width, b.level * line, Math.max(0.5, b.w * width - 1), line - 1);
			if (b.w * width > 30) {
				c.save();
				c.beginPath();
				c.rect(b.x * width, b.level * line, b.w * width - 3, line);
				c.clip();
				c.fillStyle = b.level ? "#201608" : ink("ink");
				c.fillText(b.level ? b.node.name : `${b.node.name}  ${show(b.node.value)}`, b.x * width + 4, b.level * line + line / 2);
				c.restore();
			}
		}
	}, (x, y, width) => {
		const b = find(x, y, width);
		return b ? `${b.node.name}\n${show(b.node.value)}, ${(100 * b.node.value / root.value).toFixed(1)} %` : "";
	}, (x, y, width) => {
		const b = find(x, y, width);
		top = b && b.node !== top ? b.node : root;
	});
	e.id = id;
	return e;
}
