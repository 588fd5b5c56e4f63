package broker

import (
	"sync"
	"sync/atomic"
)

// Alarm is a set of reasons to stop publishers.
type Alarm uint8

// The reasons.
const (
	AlarmMemory Alarm = 1 << iota
	AlarmDisk
)

// String is the text that connection.blocked carries.
func (a Alarm) String() string {
	switch a & (AlarmMemory | AlarmDisk) {
	case AlarmMemory:
		return "low on memory"
	case AlarmDisk:
		return "low on disk"
	case AlarmMemory | AlarmDisk:
		return "low on memory & disk"
	}
	return ""
}

// alarms are those in force: measured ones and those an operator holds.
type alarms struct {
	set atomic.Uint32

	mu       sync.Mutex // serialises changes and their announcement
	measured Alarm
	held     Alarm
}

// Alarms returns those in force; 0 is none. Cheap enough to call per publish.
func (b *Broker) Alarms() Alarm { return Alarm(b.alarms.set.Load()) }

// SetAlarm says what was measured: it raises or clears alarms and tells every
// connection.
func (b *Broker) SetAlarm(_ *Turn, a Alarm, on bool) { b.changeAlarms(&b.alarms.measured, a, on) }

// HoldAlarm raises alarms by hand, whatever is measured, until they are let go
// by hand.
func (b *Broker) HoldAlarm(_ *Turn, a Alarm, on bool) { b.changeAlarms(&b.alarms.held, a, on) }

func (b *Broker) changeAlarms(source *Alarm, a Alarm, on bool) {
	b.alarms.mu.Lock()
	defer b.alarms.mu.Unlock()
	if *source &^= a; on {
		*source |= a
	}
	before, after := b.Alarms(), b.alarms.measured|b.alarms.held
	if after == before {
		return
	}
	b.alarms.set.Store(uint32(after))
	b.log.Warn("alarms changed", "before", before.String(), "now", after.String())
	for _, c := range b.conns.all() {
		if c.options.Control != nil {
			c.options.Control.Alarm(after)
		}
	}
}

// checkMemory raises the memory alarm above the limit and clears it a tenth
// below, so that it does not flutter.
func (b *Broker) checkMemory(t *Turn) {
	limit := b.options.MemoryLimit
	if limit <= 0 {
		return
	}
	switch used := b.MemoryUsed(); {
	case !b.short && used > limit:
		b.short = true
	case b.short && used <= limit-limit/10:
		b.short = false
	default:
		return
	}
	b.SetAlarm(t, AlarmMemory, b.short)
}
