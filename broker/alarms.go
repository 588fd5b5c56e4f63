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

// alarms are those in force.
type alarms struct {
	set atomic.Uint32
	mu  sync.Mutex // serialises changes and their announcement
}

// Alarms returns those in force; 0 is none. Cheap enough to call per publish.
func (b *Broker) Alarms() Alarm { return Alarm(b.alarms.set.Load()) }

// SetAlarm raises or clears alarms and tells every connection.
func (b *Broker) SetAlarm(_ *Turn, a Alarm, on bool) {
	b.alarms.mu.Lock()
	defer b.alarms.mu.Unlock()
	before := b.Alarms()
	after := before &^ a
	if on {
		after = before | a
	}
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
	used, raised := b.MemoryUsed(), b.Alarms()&AlarmMemory != 0
	switch {
	case !raised && used > limit:
		b.SetAlarm(t, AlarmMemory, true)
	case raised && used <= limit-limit/10:
		b.SetAlarm(t, AlarmMemory, false)
	}
}
