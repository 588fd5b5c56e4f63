package wire

import "strings"

// ValidTopicName reports whether a valid string may be the topic of a message:
// not empty and without wildcards [MQTT-3.3.2-2, 4.7.3-1].
func ValidTopicName(t []byte) bool {
	for _, c := range t {
		if c == '+' || c == '#' {
			return false
		}
	}
	return len(t) > 0
}

// ValidFilter reports whether a valid string may be a topic filter: wildcards
// fill whole levels and # is the last (section 4.7.1).
func ValidFilter(f string) bool {
	if f == "" {
		return false
	}
	for rest, more := f, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "#" && more:
			return false
		case level != "#" && level != "+" && strings.ContainsAny(level, "#+"):
			return false
		}
	}
	return true
}

// Share splits a shared subscription's filter ($share/name/filter, section
// 4.8.2). shared tells whether it is one, ok whether it is a valid one; the
// filter itself is for ValidFilter.
func Share(f string) (name, filter string, shared, ok bool) {
	rest, shared := strings.CutPrefix(f, "$share/")
	if !shared {
		return "", f, f == "$share", false
	}
	name, filter, ok = strings.Cut(rest, "/")
	ok = ok && name != "" && !strings.ContainsAny(name, "+#") && filter != ""
	return name, filter, true, ok
}

// Match reports whether a topic matches a filter (section 4.7). Wildcards at the
// start do not match topics that begin with $ [MQTT-4.7.2-1].
func Match(filter, topic string) bool {
	if len(topic) > 0 && topic[0] == '$' && len(filter) > 0 && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for fmore, tmore := true, true; ; {
		var f, l string
		f, filter, fmore = strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		l, topic, tmore = strings.Cut(topic, "/")
		if f != "+" && f != l {
			return false
		}
		if !tmore {
			return !fmore || filter == "#"
		}
		if !fmore {
			return false
		}
	}
}
