// SPDX-License-Identifier: MIT
// What the page knows: the traces and profiles that the program put into it, and sums over them. Draws nothing.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);

// A trace's reads are columns, each as long as the others: a row is an index. Times are microseconds since the first.
// used: what was read of layers whose bytes are known, for their pictures.
const traces = DATA.traces.map(t => {
	const n = t.reads.time.length, used = [];
	for (let i = 0; i < n; i++)
		if (t.reads.device[i] >= 0)
			used.push({ layer: t.reads.layer[i], offset: t.reads.device[i], length: t.reads.length[i], time: t.reads.time[i] });
	return { ...t, n, used };
});
const profiles = DATA.profiles;

function sum(values) {
	let total = 0;
	for (const v of values)
		total += v;
	return total;
}

function totals(t) {
	const waited = t.reads.wait.filter(w => w > 0);
	return {
		...t.totals, wait: t.totals.wait_ns / 1000, span: t.totals.span_ns / 1000, files: t.paths.length,
		processes: t.processes.length, median: quantile(waited, 0.5), p99: quantile(waited, 0.99),
	};
}

function quantile(values, q) {
	if (!values.length)
		return 0;
	const sorted = Float64Array.from(values).sort();
	return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}

// Rows of {key, reads, bytes, wait, waits} by a column of the reads.
function grouped(t, column) {
	const rows = new Map();
	for (let i = 0; i < t.n; i++) {
		const key = t.reads[column][i];
		let row = rows.get(key);
		if (!row)
			rows.set(key, row = { key, reads: 0, bytes: 0, wait: 0, waits: 0, first: t.reads.time[i] });
		row.reads++;
		row.bytes += t.reads.length[i];
		row.wait += t.reads.wait[i];
		row.waits += t.reads.wait[i] > 0;
	}
	return [...rows.values()];
}

// Time by phase, over all reads that waited.
function phases(t) {
	return t.phases.map((name, p) => ({ name, time: sum(t.reads.phases[p].filter((_, i) => t.reads.wait[i] > 0)) }));
}

// A tree of {name, value, children} from lists of names (outermost first) and their values.
function tree(stacks, root) {
	const top = { name: root, value: 0, children: new Map() };
	for (const [names, value] of stacks) {
		let at = top;
		at.value += value;
		for (const name of names) {
			let next = at.children.get(name);
			if (!next)
				at.children.set(name, next = { name, value: 0, children: new Map() });
			next.value += value;
			at = next;
		}
	}
	return top;
}

function pathTree(t, weight) {
	const stacks = grouped(t, "path").filter(row => row[weight] > 0).map(row => {
		const parts = t.paths[row.key].split("/").filter(part => part);
		return [parts.map((part, i) => i < parts.length - 1 ? part + "/" : part), row[weight]];
	});
	return tree(stacks, "/");
}

function profileTree(p, type) {
	return tree(p.stacks.map(s => [s.names.map(i => p.names[i]).reverse(), s.values[type]]), "all");
}

// Running totals of a column, as points [time, total]; at most about 2000 of them.
function running(times, values) {
	const order = [...times.keys()].sort((a, b) => times[a] - times[b]), points = [[0, 0]];
	const step = Math.max(1, Math.floor(order.length / 2000));
	let total = 0;
	order.forEach((i, k) => {
		total += values[i];
		if (k % step === 0 || k === order.length - 1)
			points.push([times[i], total]);
	});
	return points;
}

// Counts of waits by powers of two of microseconds.
function latencies(t) {
	const counts = new Array(32).fill(0);
	for (const w of t.reads.wait)
		if (w > 0)
			counts[Math.min(31, Math.floor(Math.log2(Math.max(1, w))))]++;
	return counts;
}

// A layer (of t.layers) cut into cells: bytes fetched, bytes used, when first used. What is fetched or read twice counts once.
function heat(t, layer, cells) {
	const cell = Math.max(1, layer.size) / cells;
	const map = { cell, fetched: new Float64Array(cells), used: new Float64Array(cells), first: new Float64Array(cells).fill(Infinity) };
	const spread = (into, from, to) => {
		for (let c = Math.floor(from / cell); c < cells && c * cell < to; c++)
			into[c] += Math.min(to, (c + 1) * cell) - Math.max(from, c * cell);
	};
	const spreadOnce = (into, ranges) => {
		let end = 0;
		for (const r of ranges.sort((a, b) => a.offset - b.offset)) {
			const from = Math.max(end, r.offset);
			end = Math.max(end, r.offset + r.length);
			if (from < end)
				spread(into, from, end);
		}
	};
	const fetched = [], used = t.used.filter(r => r.layer === layer.key);
	for (let i = 0; i < t.fetches.time.length; i++)
		if (t.fetches.layer[i] === layer.key)
			fetched.push({ offset: t.fetches.device[i], length: t.fetches.length[i] });
	spreadOnce(map.fetched, fetched);
	spreadOnce(map.used, used);
	for (const u of used)
		for (let c = Math.floor(u.offset / cell); c < cells && c * cell < u.offset + u.length; c++)
			map.first[c] = Math.min(map.first[c], u.time);
	return map;
}

function showTime(us) {
	if (us >= 1e6)
		return (us / 1e6).toFixed(2) + " s";
	if (us >= 1000)
		return (us / 1000).toFixed(us >= 1e5 ? 0 : 1) + " ms";
	return Math.round(us) + " µs";
}

function showBytes(n) {
	for (const unit of ["B", "KiB", "MiB", "GiB"]) {
		if (n < 1024 || unit === "GiB")
			return (unit === "B" ? Math.round(n) : n.toFixed(n < 10 ? 1 : 0)) + " " + unit;
		n /= 1024;
	}
}

function showCount(n) {
	return Math.round(n).toLocaleString("en");
}

function showUnit(value, unit) {
	if (unit === "nanoseconds")
		return showTime(value / 1000);
	return unit === "bytes" ? showBytes(value) : showCount(value);
}
