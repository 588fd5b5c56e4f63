package main

import (
	"log/slog"
	"testing"

	"github.com/hermodmq/hermod/broker"
)

// The disk may run low while the core recovers: it must not miss that.
func TestDiskAlarmBeforeTheCore(t *testing.T) {
	core, err := broker.New(broker.Options{Store: broker.NewMemoryStore(), PasswordCost: 4})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{log: slog.New(slog.DiscardHandler)}
	n.diskAlarm(true, 1)
	n.watchDisk(core)
	if core.Alarms() != broker.AlarmDisk {
		t.Errorf("alarms %v, want that of the disk", core.Alarms())
	}
	n.diskAlarm(false, 1<<40)
	if core.Alarms() != 0 {
		t.Errorf("alarms %v after the disk recovered", core.Alarms())
	}
}
