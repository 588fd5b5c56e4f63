package interop

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"testing"

	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// others are the protocols that JMS messages are read by.
func others(t *testing.T, f func(t *testing.T, to Adapter, out *openwireClient, at Address, in <-chan Message)) {
	for _, to := range adapters {
		if to.Name() == "OpenWire" {
			continue
		}
		t.Run(to.Name(), func(t *testing.T) {
			at := Address{Topic: []string{unique(t), "x"}}
			out := connect(t, byName(t, "OpenWire")).(*openwireClient)
			f(t, to, out, at, listen(t, connect(t, to), at))
		})
	}
}

// TestMapsAndStreamsAreJSON: what JMS has beside texts and bytes is JSON for
// everybody else (OW-73).
func TestMapsAndStreamsAreJSON(t *testing.T) {
	others(t, func(t *testing.T, to Adapter, out *openwireClient, at Address, in <-chan Message) {
		var stream []byte
		for _, v := range []wire.Primitive{"größe 😀", int32(5), true, nil} {
			stream = wire.AppendPrimitive(stream, v)
		}
		for _, c := range []struct {
			kind    wire.Type
			content []byte
			want    string
		}{
			{wire.TypeMapMessage, wire.AppendMap(nil, wire.Map{{Name: "k", Value: "größe 😀"}, {Name: "n", Value: int64(1) << 40}, {Name: "d", Value: 1.5}}),
				`{"k":"größe 😀","n":1099511627776,"d":1.5}`},
			{wire.TypeStreamMessage, stream, `["größe 😀",5,true,null]`},
		} {
			must(t, out.sendMessage(at, &wire.Message{Kind: c.kind, Content: c.content, Priority: 4}))
			m := next(t, in)
			if string(m.Body) != c.want || m.ContentType != to.Shows(Message{ContentType: "application/json"}).ContentType {
				t.Errorf("%s %q, want %s", m.ContentType, m.Body, c.want)
			}
		}
	})
}

// TestCompressedBodies: what a JMS client compressed is readable (OW-30).
func TestCompressedBodies(t *testing.T) {
	deflate := func(b []byte) []byte {
		var z bytes.Buffer
		w := zlib.NewWriter(&z)
		_, err := w.Write(b)
		must(t, err)
		must(t, w.Close())
		return z.Bytes()
	}
	others(t, func(t *testing.T, _ Adapter, out *openwireClient, at Address, in <-chan Message) {
		for _, w := range []*wire.Message{
			{Kind: wire.TypeTextMessage, Content: deflate(openwireText("größe 😀"))},
			{Kind: wire.TypeBytesMessage, Content: append([]byte{0, 0, 0, 11}, deflate([]byte("größe 😀"))...)},
		} {
			w.Compressed = true
			must(t, out.sendMessage(at, w))
			if m := next(t, in); string(m.Body) != "größe 😀" {
				t.Errorf("%v: %q", w.Kind, m.Body)
			}
		}
	})
}

// TestNarrowNumbers: numbers of JMS that are narrower than 64 bits keep their
// values.
func TestNarrowNumbers(t *testing.T) {
	others(t, func(t *testing.T, _ Adapter, out *openwireClient, at Address, in <-chan Message) {
		must(t, out.sendMessage(at, &wire.Message{Kind: wire.TypeTextMessage, Properties: wire.AppendMap(nil, wire.Map{
			{Name: "y", Value: int8(-1)}, {Name: "h", Value: int16(-300)}, {Name: "i", Value: int32(70000)}, {Name: "f", Value: float32(0.5)}})}))
		m := next(t, in)
		for name, want := range map[string]string{"y": "-1", "h": "-300", "i": "70000", "f": "0.5"} {
			if got := fmt.Sprint(m.Headers[name]); got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
	})
}

// TestTextsAndBytesForJMS: a JMS consumer gets a text message where the sender
// said that it sent a text, else a bytes message.
func TestTextsAndBytesForJMS(t *testing.T) {
	for _, from := range []string{"AMQP", "STOMP", "MQTT"} {
		for contentType, want := range map[string]wire.Type{"text/plain": wire.TypeTextMessage, "application/json": wire.TypeTextMessage, "application/octet-stream": wire.TypeBytesMessage} {
			at := Address{Topic: []string{unique(t), "x"}}
			c := connect(t, byName(t, "OpenWire")).(*openwireClient)
			kinds := make(chan wire.Type, 1)
			c.mu.Lock()
			c.seen = func(w *wire.Message) { kinds <- w.Kind }
			c.mu.Unlock()
			in := listen(t, c, at)
			must(t, connect(t, byName(t, from)).Send(at, Message{Body: []byte("größe 😀"), ContentType: contentType}))
			if m := next(t, in); string(m.Body) != "größe 😀" {
				t.Errorf("%s %s: %q", from, contentType, m.Body)
			}
			if got := <-kinds; got != want {
				t.Errorf("%s %s: %v, want %v", from, contentType, got, want)
			}
		}
	}
}
