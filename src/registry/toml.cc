// SPDX-License-Identifier: MIT
// The only C++ here: a shim around toml++. No exception leaves it.
#include <algorithm>
#include <cerrno>
#include <exception>
#include <sstream>
#include <string_view>
#include <vector>
#include <toml++/toml.h>

extern "C" {
#include "registry/toml.h"
}

namespace {

struct too_deep {};

json_t *node_to_json(const toml::node &node, unsigned depth);

// The library sorts a table by its keys; what the file's order is, their positions tell.
json_t *table_to_json(const toml::table &table, unsigned depth)
{
	std::vector<std::pair<const toml::key *, const toml::node *>> members;
	json_t *object = json_object();

	for (auto &&[key, value] : table)
		members.emplace_back(&key, &value);
	std::sort(members.begin(), members.end(), [](const auto &a, const auto &b) {
		return a.first->source().begin < b.first->source().begin;
	});
	for (const auto &[key, value] : members) {
		json_t *v = nullptr;

		try {
			v = node_to_json(*value, depth + 1);
		} catch (...) {
			json_decref(object);
			throw;
		}
		if (!v || json_object_set_new(object, std::string(key->str()).c_str(), v) < 0) {
			json_decref(object);
			throw std::bad_alloc();
		}
	}
	return object;
}

json_t *array_to_json(const toml::array &array, unsigned depth)
{
	json_t *list = json_array();

	for (const toml::node &value : array) {
		json_t *v = nullptr;

		try {
			v = node_to_json(value, depth + 1);
		} catch (...) {
			json_decref(list);
			throw;
		}
		if (!v || json_array_append_new(list, v) < 0) {
			json_decref(list);
			throw std::bad_alloc();
		}
	}
	return list;
}

json_t *node_to_json(const toml::node &node, unsigned depth)
{
	if (depth > JSON_DEPTH_MAX)
		throw too_deep();
	if (auto *table = node.as_table())
		return table_to_json(*table, depth);
	if (auto *array = node.as_array())
		return array_to_json(*array, depth);
	if (auto *text = node.as_string())
		return json_stringn(text->get().data(), text->get().size());
	if (auto *number = node.as_integer())
		return json_integer(number->get());
	if (auto *real = node.as_floating_point())
		return json_real(real->get());
	if (auto *truth = node.as_boolean())
		return json_boolean(truth->get());
	std::ostringstream date;
	date << toml::node_view<const toml::node>(node);
	return json_string(date.str().c_str());
}

} // namespace

extern "C" int toml_parse(const char *text, size_t len, const char *what, json_t **ret,
			  struct error *err)
{
	if (len > TOML_DOC_MAX)
		return error_set(err, -E2BIG, "%s: %zu bytes, the limit is %zu", what, len,
				 TOML_DOC_MAX);
	try {
		const toml::table document = toml::parse(std::string_view(text, len));

		*ret = table_to_json(document, 1);
		return 0;
	} catch (const toml::parse_error &e) {
		return error_set(err, -EBADMSG, "%s: line %u: %.200s", what,
				 (unsigned)e.source().begin.line,
				 std::string(e.description()).c_str());
	} catch (const too_deep &) {
		return error_set(err, -E2BIG, "%s: nested deeper than %d", what, JSON_DEPTH_MAX);
	} catch (const std::bad_alloc &) {
		return error_set(err, -ENOMEM, "%s: out of memory", what);
	} catch (const std::exception &e) {
		return error_set(err, -EBADMSG, "%s: %.200s", what, e.what());
	}
}
