package topic

import "strings"

// ActiveMQ translates a name as clients of ActiveMQ write it, in which the
// word * stands for one word and the word > at the end for any number of them,
// none included, into a pattern. A > elsewhere is a word like others.
func ActiveMQ(name string) string {
	if name == ">" {
		return "#"
	}
	rest, wild := strings.CutSuffix(name, ".>")
	if !wild {
		return name
	}
	for wild {
		name = rest
		rest, wild = strings.CutSuffix(name, ".>")
	}
	if name == ">" {
		return "#"
	}
	return name + ".#"
}

// Wild reports whether a name as clients of ActiveMQ write it has wildcards.
func Wild(name string) bool {
	for rest, more := name, name != ""; more; {
		var word string
		word, rest, more = strings.Cut(rest, ".")
		if word == "*" || word == ">" && !more {
			return true
		}
	}
	return false
}
