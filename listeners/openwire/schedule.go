package openwire

import (
	"strconv"

	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// Properties that ask for a delivery later.
const (
	propDelay  = "AMQ_SCHEDULED_DELAY"
	propPeriod = "AMQ_SCHEDULED_PERIOD"
	propRepeat = "AMQ_SCHEDULED_REPEAT"
	propCron   = "AMQ_SCHEDULED_CRON"
	propJobID  = "scheduledJobId"
)

// schedule says when a message is to be delivered.
type schedule struct {
	Delay  int64  // ms
	Period int64  // ms between repetitions
	Repeat int    // repetitions; -1 = for ever
	Cron   string // five fields; "" = none
}

// scheduleOf reads the schedule of a message; ok is false if it has none.
func scheduleOf(m *wire.Message) (s schedule, ok bool, err error) {
	if m.Properties == nil {
		return s, false, nil
	}
	for _, name := range []string{propDelay, propPeriod, propRepeat, propCron} {
		v, found, err := wire.Property(m.Properties, name)
		if err != nil {
			return s, false, err
		}
		if !found {
			continue
		}
		if name == propCron {
			s.Cron, _ = v.(string)
			ok = ok || s.Cron != ""
			continue
		}
		n := whole(v)
		switch name {
		case propDelay:
			s.Delay = max(n, 0)
			ok = ok || s.Delay > 0
		case propPeriod:
			s.Period = max(n, 0)
			ok = ok || s.Period > 0
		case propRepeat:
			s.Repeat = int(max(n, -1))
		}
	}
	return s, ok, nil
}

// whole converts as ActiveMQ does: any integer, or a text that is one.
func whole(v wire.Primitive) int64 {
	switch v := v.(type) {
	case int8:
		return int64(v)
	case int16:
		return int64(v)
	case int32:
		return int64(v)
	case int64:
		return v
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}

// unscheduled are the properties of a message as it is delivered: without the
// schedule, with the id of the job.
func unscheduled(properties []byte, jobID string) ([]byte, error) {
	m, err := wire.ParseMap(properties)
	if err != nil {
		return nil, err
	}
	out := make(wire.Map, 0, len(m)+1)
	for _, e := range m {
		switch e.Name {
		case propDelay, propPeriod, propRepeat, propCron, propJobID:
		default:
			out = append(out, e)
		}
	}
	out = append(out, wire.Entry{Name: propJobID, Value: jobID})
	return wire.AppendMap(nil, out), nil
}
