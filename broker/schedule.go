package broker

import (
	"time"

	"github.com/hermodmq/hermod/broker/cron"
)

// timedMessage is a message and when it is due.
type timedMessage struct {
	msg *Message
	at  int64 // Unix ms; 0: now
}

// FirstDue is the time in Unix ms at which a message with this schedule, and
// after this delay in ms, comes first; 0 if it never does. Its caller puts it
// into Notes.DeliverAt.
func (s *Schedule) FirstDue(now, delay int64) int64 {
	at := now
	if s.Cron != "" {
		if at = nextCron(s.Cron, now); at == 0 {
			return 0
		}
		if s.Repeat != 0 {
			return at
		}
	}
	if delay > 0 {
		return at + min(delay, maxDelay)
	}
	return at + min(max(s.Period, 0), maxDelay)
}

// nextCron is the first time after now to which a crontab entry applies, in
// the machine's time zone; 0 if there is none.
func nextCron(entry string, now int64) int64 {
	e, err := cron.Parse(entry)
	if err != nil {
		return 0
	}
	next := e.Next(time.UnixMilli(now))
	if next.IsZero() {
		return 0
	}
	return next.UnixMilli()
}

// occurrences returns what becomes of a delayed message that is due: what is
// delivered now, and what waits for the next time.
func (m *Message) occurrences(now int64) []timedMessage {
	if m.Notes == nil || m.Notes.Schedule == nil {
		return []timedMessage{{m, 0}}
	}
	s := m.Notes.Schedule
	number := m.Notes.Occurrence + 1
	var list []timedMessage
	switch {
	case s.Cron != "":
		// Where an entry of cron and repetition meet, each time of cron begins a
		// series. It has numbers of its own.
		const series = 1 << 12
		if s.Repeat != 0 {
			at := now + min(max(s.Delay, 0), maxDelay)
			if s.Delay <= 0 {
				at = now + min(max(s.Period, 0), maxDelay)
			}
			list = append(list, m.scheduled(&Schedule{Period: s.Period, Repeat: s.Repeat}, at, number))
			number += series
		} else {
			list = append(list, m.scheduled(nil, 0, number))
		}
		if at := nextCron(s.Cron, now); at != 0 {
			list = append(list, m.scheduled(s, at, number))
		}
	default:
		list = append(list, m.scheduled(nil, 0, number))
		if s.Repeat != 0 && s.Period > 0 {
			next := *s
			next.Repeat = max(s.Repeat-1, -1)
			at := m.Notes.DeliverAt + s.Period
			if at <= now { // the broker was away
				at = now + s.Period
			}
			list = append(list, m.scheduled(&next, at, number))
		}
	}
	return list
}

// scheduled is a copy of m that waits until at, or that is delivered if at
// is 0.
func (m *Message) scheduled(s *Schedule, at int64, number uint32) timedMessage {
	c, n := *m, *m.Notes
	n.Schedule, n.DeliverAt, n.Occurrence = s, at, number
	c.Notes = &n
	return timedMessage{&c, at}
}
