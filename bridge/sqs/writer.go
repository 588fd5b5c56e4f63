package sqs

import (
	"encoding/hex"
	"slices"
	"strconv"
	"sync"

	"github.com/hermodmq/hermod/bridge/aws"
)

const xmlns = "http://queue.amazonaws.com/doc/2012-11-05/"

// writer builds the output of an action in the protocol of its request. What
// begins one writes it and finishes the request with it, once, and does not
// touch it again: from then on it belongs to the answer, which releases it when
// it is sent. One that is never sent is left to the collector.
type writer struct {
	b        []byte
	protocol aws.Protocol
	action   string
	comma    bool
	output   bool // the action has one
	start    int  // where the members of the output begin
}

// writers are released ones with their buffers.
var writers = sync.Pool{New: func() any { return new(writer) }}

// maxPooled bounds the buffer, in bytes, that a released writer keeps.
const maxPooled = 64 << 10

// Release takes back the buffer of an answer that is sent.
func (w *writer) Release() {
	if cap(w.b) <= maxPooled {
		*w = writer{b: w.b[:0]}
		writers.Put(w)
	}
}

// newWriter begins the output of an action; output tells whether the model has
// one.
func newWriter(p aws.Protocol, action string, output bool, size int) *writer {
	w := writers.Get().(*writer)
	*w = writer{b: slices.Grow(w.b, size), protocol: p, action: action, output: output}
	switch p {
	case aws.JSON:
		if output {
			w.b = append(w.b, '{')
		}
	case aws.QueryJSON:
		w.b = append(append(append(w.b, `{"`...), action...), `Response":{`...)
		if output {
			w.b = append(append(append(w.b, '"'), action...), `Result":{`...)
		}
	default:
		w.b = append(append(append(w.b, `<?xml version="1.0"?><`...), action...), `Response xmlns="`+xmlns+`">`...)
		if output {
			w.open(action + "Result")
		}
	}
	w.start = len(w.b)
	return w
}

// end returns the whole body.
func (w *writer) end(requestID string) []byte {
	switch w.protocol {
	case aws.JSON:
		if w.output {
			w.b = append(w.b, '}')
		}
	case aws.QueryJSON:
		if w.output {
			w.b = append(w.b, `},`...)
		}
		w.b = append(append(append(w.b, `"ResponseMetadata":{"RequestId":"`...), requestID...), `"}}}`...)
	default:
		switch {
		case w.output && len(w.b) == w.start: // there are clients that look for this form
			w.b = append(w.b[:w.start-1], "/>"...)
		case w.output:
			w.shut(w.action + "Result")
		}
		w.b = append(append(append(w.b, "<ResponseMetadata><RequestId>"...), requestID...), "</RequestId></ResponseMetadata></"...)
		w.b = append(append(w.b, w.action...), "Response>"...)
	}
	return w.b
}

func (w *writer) xml() bool { return w.protocol == aws.Query }

func (w *writer) open(name string) { w.b = append(append(append(w.b, '<'), name...), '>') }
func (w *writer) shut(name string) { w.b = append(append(append(w.b, "</"...), name...), '>') }

// key begins a member of JSON.
func (w *writer) key(name string) {
	if w.comma {
		w.b = append(w.b, ',')
	}
	w.comma = true
	w.b = append(append(append(w.b, '"'), name...), `":`...)
}

// text writes a member.
func (w *writer) text(name, value string) {
	if w.xml() {
		w.open(name)
		w.b = aws.AppendXMLText(w.b, value)
		w.shut(name)
		return
	}
	w.key(name)
	w.b = aws.AppendJSONString(w.b, value)
}

// optional writes a member that is there only if it is not empty.
func (w *writer) optional(name, value string) {
	if value != "" {
		w.text(name, value)
	}
}

// raw writes a member whose value is the same in both, as a number.
func (w *writer) raw(name, value string) {
	if w.xml() {
		w.open(name)
		w.b = append(w.b, value...)
		w.shut(name)
		return
	}
	w.key(name)
	w.b = append(w.b, value...)
}

// plain writes a member whose value, which f appends, needs no escapes.
func (w *writer) plain(name string, f func(dst []byte) []byte) {
	if w.xml() {
		w.open(name)
		w.b = f(w.b)
		w.shut(name)
		return
	}
	w.key(name)
	w.b = append(f(append(w.b, '"')), '"')
}

func (w *writer) hex(name string, value []byte) {
	w.plain(name, func(dst []byte) []byte { return hex.AppendEncode(dst, value) })
}

func (w *writer) uuid(name string, value aws.UUID) { w.plain(name, value.Append) }

func (w *writer) number(name string, n int64) { w.raw(name, strconv.FormatInt(n, 10)) }

func (w *writer) truth(name string, v bool) { w.raw(name, strconv.FormatBool(v)) }

// queryNames are the names of lists in the JSON of the Query protocol, where
// they differ from those of AWS JSON.
var queryNames = map[string]string{"Messages": "messages", "QueueUrls": "queueUrls"}

// listKey begins a list in JSON.
func (w *writer) listKey(name string) {
	if other, ok := queryNames[name]; ok && w.protocol == aws.QueryJSON {
		name = other
	}
	w.key(name)
}

// absent tells that there is no such member, where the protocol tells that.
func (w *writer) absent(name string) {
	if w.protocol == aws.QueryJSON {
		w.listKey(name)
		w.b = append(w.b, "null"...)
	}
}

// list writes n objects: under name in JSON, each as element in XML.
func (w *writer) list(name, element string, n int, f func(i int)) {
	if w.xml() {
		for i := range n {
			w.open(element)
			f(i)
			w.shut(element)
		}
		return
	}
	w.listKey(name)
	w.b = append(w.b, '[')
	for i := range n {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = append(w.b, '{')
		w.comma = false
		f(i)
		w.b = append(w.b, '}')
	}
	w.b = append(w.b, ']')
	w.comma = true
}

// texts writes a list of strings; none if it is empty.
func (w *writer) texts(name, element string, list []string) {
	if len(list) == 0 {
		w.absent(name)
		return
	}
	if w.xml() {
		for _, s := range list {
			w.text(element, s)
		}
		return
	}
	w.listKey(name)
	w.b = append(w.b, '[')
	for i, s := range list {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = aws.AppendJSONString(w.b, s)
	}
	w.b = append(w.b, ']')
}

// pairs writes a map of strings; none if it is empty.
func (w *writer) pairs(name, element, key, value string, list []pair) {
	switch {
	case len(list) == 0:
		w.absent(name)
	case w.protocol == aws.JSON:
		w.key(name)
		w.b = append(w.b, '{')
		for i := range list {
			if i > 0 {
				w.b = append(w.b, ',')
			}
			w.b = append(aws.AppendJSONString(w.b, list[i].Name), ':')
			w.b = aws.AppendJSONString(w.b, list[i].Value)
		}
		w.b = append(w.b, '}')
		w.comma = true
	default:
		w.list(name, element, len(list), func(i int) {
			w.text(key, list[i].Name)
			w.text(value, list[i].Value)
		})
	}
}
