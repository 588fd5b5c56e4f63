package amqp

import (
	"slices"
	"testing"

	"github.com/hermodmq/hermod/broker"
)

func tags(list []unsettled) []uint64 {
	var out []uint64
	for _, u := range list {
		out = append(out, u.Tag)
	}
	return out
}

func holding(q *broker.Queue, tags ...uint64) *channel {
	ch := new(channel)
	for _, tag := range tags {
		ch.ledger.Add(unsettled{Tag: tag, Queue: q, Lease: broker.Lease(tag)})
	}
	return ch
}

func TestLedgerTakes(t *testing.T) {
	q := new(broker.Queue)
	for _, c := range []struct {
		name     string
		held     []uint64
		tag      uint64
		multiple bool
		want     []uint64
		text     string
	}{
		{"one", []uint64{1, 2, 3}, 2, false, []uint64{2}, ""},
		{"up to", []uint64{1, 2, 3}, 2, true, []uint64{1, 2}, ""},
		{"all", []uint64{1, 2, 3}, 0, true, []uint64{1, 2, 3}, ""},
		{"all of nothing", nil, 0, true, nil, ""},
		{"with gaps", []uint64{2, 5, 9}, 5, true, []uint64{2, 5}, ""},
		{"in a gap", []uint64{2, 5, 9}, 4, false, nil, "PRECONDITION_FAILED - unknown delivery tag 4"},
		{"zero", []uint64{1}, 0, false, nil, "PRECONDITION_FAILED - unknown delivery tag 0"},
		{"too high", []uint64{1}, 2, true, nil, "PRECONDITION_FAILED - unknown delivery tag 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := holding(q, c.held...).takeTag(nil, c.tag, c.multiple)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if !slices.Equal(tags(got), c.want) || text != c.text {
				t.Errorf("took %v, error %q", tags(got), text)
			}
		})
	}
}

func TestLedgerRefusesASecondAck(t *testing.T) { // AMQP-25
	ch := holding(new(broker.Queue), 1, 2, 3)
	if _, err := ch.takeTag(nil, 2, false); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.takeTag(nil, 2, false); err == nil {
		t.Error("tag 2 taken twice")
	}
	if _, err := ch.takeTag(nil, 2, true); err == nil {
		t.Error("tag 2 taken twice, the second time with multiple")
	}
}
