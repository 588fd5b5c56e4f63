package stomp

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker"
)

var wholeMap = broker.Table{
	{Name: "s", Value: "<a & \"b\">\n😀"}, {Name: "empty", Value: ""}, {Name: "n", Value: nil}, {Name: "z", Value: true},
	{Name: "i8", Value: int8(-1)}, {Name: "i16", Value: int16(300)}, {Name: "i32", Value: int32(5)}, {Name: "i64", Value: int64(1) << 40},
	{Name: "f", Value: float32(0.5)}, {Name: "d", Value: 2.0}, {Name: "inf", Value: math.Inf(-1)}, {Name: "raw", Value: []byte{0, 255}},
	{Name: "m", Value: broker.Table{{Name: "k", Value: "v"}}}, {Name: "none", Value: broker.Table{}}, {Name: "l", Value: broker.Array{"a", "b"}},
}

// STOMP-35: maps as ActiveMQ writes them, and back.
func TestMapForms(t *testing.T) {
	small := broker.Table{{Name: "name", Value: "Dejan"}, {Name: "n", Value: int32(6)}}
	for f, want := range map[form]string{
		formJSON: `{"map":{"entry":[{"string":["name","Dejan"]},{"string":"n","int":6}]}}`,
		formXML:  "<map>\n  <entry>\n    <string>name</string>\n    <string>Dejan</string>\n  </entry>\n  <entry>\n    <string>n</string>\n    <int>6</int>\n  </entry>\n</map>",
	} {
		if got := string(f.append(nil, small)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		for _, table := range []broker.Table{small, {}, wholeMap} {
			body := f.append(nil, table)
			if got, err := f.parse(body); err != nil || !reflect.DeepEqual(got, table) {
				t.Errorf("%s\nbecomes %#v, %v", body, got, err)
			}
		}
	}
}

func TestMapFormsOfOthers(t *testing.T) {
	for body, want := range map[string]broker.Table{
		`{"city":"Belgrade","n":6,"f":1.5,"ok":true,"no":null,"big":4294967296,"l":[1,"a"],"o":{"k":"v"}}`: {
			{Name: "city", Value: "Belgrade"}, {Name: "n", Value: int32(6)}, {Name: "f", Value: 1.5}, {Name: "ok", Value: true}, {Name: "no", Value: nil}, {Name: "big", Value: int64(1) << 32},
			{Name: "l", Value: broker.Array{int32(1), "a"}}, {Name: "o", Value: broker.Table{{Name: "k", Value: "v"}}},
		},
		`{"map":{"entry":{"string":["key","value"]}}}`: {{Name: "key", Value: "value"}},
		`{"map":[{"entry":[{"string":["id",6]}]}]}`:    {{Name: "id", Value: "6"}},
		`{"map":"", "x":1}`:                            {{Name: "map", Value: ""}, {Name: "x", Value: int32(1)}},
		`{"map":{"entry":{"int":[1,2]}}}`:              {{Name: "map", Value: broker.Table{{Name: "entry", Value: broker.Table{{Name: "int", Value: broker.Array{int32(1), int32(2)}}}}}}},
		"<?xml version='1.0'?><tree-map><entry><string>a</string><null/></entry></tree-map>": {{Name: "a", Value: nil}},
	} {
		f := formJSON
		if body[0] == '<' {
			f = formXML
		}
		if got, err := f.parse([]byte(body)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nbecomes %#v, %v", body, got, err)
		}
	}
	large := strings.Repeat("x", maxMapBytes)
	for _, body := range []string{
		`{"a":"` + large + `"}`, "<map><entry><string>" + large + "</string><null/></entry></map>",
		"", "x", "[1]", `"map"`, `{"a":1} x`, `{"a":`, "{\"a\":\"\xff\"}", "<map", "<list/>", "<map><entry/></map>",
		"<map><entry><int>1</int><int>2</int></entry></map>", "<map><entry><string>k</string><java.util.Date>1</java.util.Date></entry></map>",
		"<map><entry><string>k</string><int>99999999999</int></entry></map>", "<!DOCTYPE a [<!ENTITY b 'c'>]><map><entry><string>&b;</string><null/></entry></map>",
		strings.Repeat("<map><entry><string>k</string>", 100), strings.Repeat(`{"a":`, 10_000), strings.Repeat("[", 100_000),
	} {
		for _, f := range []form{formJSON, formXML} {
			if table, err := f.parse([]byte(body)); err == nil {
				t.Errorf("%.60q becomes %v", body, table)
			}
		}
	}
}

// FuzzMapForms: what is read is written and read as the same.
func FuzzMapForms(f *testing.F) {
	for _, form := range []form{formJSON, formXML} {
		f.Add(form.append(nil, wholeMap), form == formXML)
	}
	f.Fuzz(func(t *testing.T, body []byte, isXML bool) {
		form := formJSON
		if isXML {
			form = formXML
		}
		table, err := form.parse(body)
		if err != nil {
			return
		}
		written := form.append(nil, table)
		again, err := form.parse(written)
		if err != nil {
			t.Fatalf("%q is written as %q: %v", body, written, err)
		}
		if last := form.append(nil, again); string(last) != string(written) {
			t.Errorf("%q is written as %q and then as %q", body, written, last)
		}
	})
}

// STOMP-35: who asks for maps in a form gets them in it, whichever they came
// in, and other messages as they are.
func TestTransformation(t *testing.T) {
	w := newWorld(t, Options{Dialect: ActiveMQ})
	c := w.open()
	for i, form := range []string{"jms-map-json", "jms-xml", "", "jms-object-json"} {
		headers := []string{"id:" + text(i), "destination:/topic/t"}
		if form != "" {
			headers = append(headers, "transformation:"+form)
		}
		c.do("SUBSCRIBE", "", headers...)
	}
	get := func() map[string]*answer {
		got := map[string]*answer{}
		for range 4 {
			a := c.expect("MESSAGE")
			got[a.headers["subscription"]] = a
		}
		return got
	}
	const sent = `{"map":{"entry":{"string":"n","int":5}}}`
	c.send("SEND", sent, "destination:/topic/t", "transformation:jms-map-json", "content-type:application/json", "k:v", "content-length:"+text(len(sent)))
	got := get()
	const inXML = "<map>\n  <entry>\n    <string>n</string>\n    <int>5</int>\n  </entry>\n</map>"
	for id, want := range map[string][3]string{
		"0": {sent, "jms-map-json", "application/json"}, "1": {inXML, "jms-map-xml", "application/xml"}, "2": {sent, "jms-map-json", "application/json"},
		"3": {sent, "jms-map-json", "application/json"},
	} {
		a := got[id]
		if a.body != want[0] || a.headers["transformation"] != want[1] || a.headers["content-type"] != want[2] || a.headers["k"] != "v" ||
			a.headers["content-length"] != text(len(want[0])) {
			t.Errorf("%s: %+v", id, a)
		}
	}
	for _, bad := range [][2]string{{"no map", "jms-map-json"}, {"<object/>", "jms-object-xml"}} {
		c.send("SEND", bad[0], "destination:/topic/t", "transformation:"+bad[1])
		for id, a := range get() {
			if a.body != bad[0] || a.headers["transformation-error"] == "" || a.headers["transformation"] != bad[1] {
				t.Errorf("%s: %+v", id, a)
			}
		}
	}
	c.send("SEND", "plain", "destination:/topic/t")
	for id, a := range get() {
		if a.body != "plain" || a.headers["transformation"] != "" {
			t.Errorf("%s: %+v", id, a)
		}
	}
}

// TestNoLocal: activemq.noLocal keeps what a connection sends from its own
// subscription, on topics and queues, with and without a selector.
func TestNoLocal(t *testing.T) {
	w := newWorld(t, Options{})
	w.queue("q")
	c, other := w.open("client-id:c"), w.open()
	c.do("SUBSCRIBE", "", "id:topic", "destination:/topic/t", "activemq.noLocal:true")
	c.do("SUBSCRIBE", "", "id:durable", "destination:/topic/t", "activemq.noLocal:true", "activemq.subscriptionName:d")
	c.do("SUBSCRIBE", "", "id:queue", "destination:/queue/q2", "no-local:true", "selector:n = 1")
	c.do("SUBSCRIBE", "", "id:list", "destination:/topic/t,/queue/q3", "activemq.noLocal:true")
	for _, dest := range []string{"/topic/t", "/queue/q2", "/queue/q3"} {
		c.do("SEND", "mine", "destination:"+dest, "n:1", "k:v")
	}
	c.silent()
	for _, dest := range []string{"/topic/t", "/queue/q2", "/queue/q3"} {
		other.do("SEND", "theirs", "destination:"+dest, "n:1", "k:v")
	}
	got := map[string]int{}
	for range 5 {
		a := c.expect("MESSAGE")
		if got[a.headers["subscription"]]++; a.body != "theirs" || a.headers["k"] != "v" {
			t.Errorf("got %+v", a)
		}
	}
	if got["list"] != 2 || got["topic"] != 1 || got["durable"] != 1 || got["queue"] != 1 {
		t.Errorf("got %v", got)
	}
	// What others get of such a connection is complete.
	other.do("SUBSCRIBE", "", "id:0", "destination:/queue/q2")
	if a := other.expect("MESSAGE"); a.body != "mine" || a.headers["k"] != "v" || a.headers["n"] != "1" {
		t.Errorf("got %+v", a)
	}
	c.silent()
}
