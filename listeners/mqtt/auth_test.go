package mqtt

import (
	"errors"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// token is a method of one step: who knows the word is the user guest.
type token struct{ b *broker.Broker }

func (token) Name() string               { return "TOKEN" }
func (m token) Start(peer Peer) Exchange { return tokenExchange{m, peer} }

type tokenExchange struct {
	token
	peer Peer
}

func (x tokenExchange) Step(data []byte) ([]byte, *broker.User, error) {
	switch string(data) {
	case "open " + x.peer.ClientID:
		u, err := x.b.LoginProved(broker.Credentials{User: "guest", Loopback: true})
		return []byte("welcome"), u, err
	case "banned":
		return nil, nil, &wire.Error{Code: wire.Banned, Text: "banned"}
	}
	return nil, nil, errors.New("no")
}

// TestMethodHook: a method of somebody else's decides who clients are.
func TestMethodHook(t *testing.T) {
	w := newWorld(t, Options{})
	w.v.opt.Methods = []Method{token{w.b}}
	for data, want := range map[string]wire.Reason{"open dev": 0, "open other": wire.NotAuthorized, "banned": wire.Banned} {
		c := w.open(wire.V5)
		p := wire.Connect{Version: wire.V5, CleanStart: true, ClientID: "dev"}
		p.Props = p.Props.AppendText(wire.AuthMethod, "TOKEN").AppendText(wire.AuthData, data)
		c.p.Send(p.Append(nil))
		a, err := wire.DecodeConnack(c.expect(wire.CONNACK), wire.V5)
		if err != nil || a.Reason != want {
			t.Errorf("%s: CONNACK 0x%02X, %v, want 0x%02X", data, byte(a.Reason), err, byte(want))
		}
		if want == 0 && (a.Props.Text(wire.AuthData) != "welcome" || c.c.core.User().Name != "guest") {
			t.Errorf("data %q, user %q", a.Props.Text(wire.AuthData), c.c.core.User().Name)
		}
	}
}
