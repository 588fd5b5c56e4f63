package persistence

import (
	"encoding/binary"
	"hash/crc32"
	"log/slog"
	"testing"

	"github.com/hermodmq/hermod/broker"
)

// FuzzEntry applies entries whose checksum is right and whose records are
// anything: an error, never a panic.
func FuzzEntry(f *testing.F) {
	msg := &broker.Message{RoutingKey: "k", Body: []byte("body"), TTL: broker.NoTTL}
	data := make([]byte, entryHeaderSize)
	data = appendPublish(data, &broker.StorePublish{Msg: msg, Targets: []broker.StoreTarget{{Lane: 1}, {Lane: 2, Expiry: 5}}})
	data = appendSettle(data, &broker.StoreSettle{Lane: 1, First: 1, Count: 1})
	data = appendCount(data, &broker.StoreCount{Lane: 2, Seq: 1, Count: 3})
	data = appendLease(data, &broker.StoreLease{Lane: 2, Seq: 1, Since: 7, Deadline: 8, Nonce: 9, Group: "g"})
	data = appendTrim(data, &broker.StoreTrim{Lane: 1, Before: 9, Drop: true})
	data = appendDefinition(data, &broker.Definition{Kind: "k", Key: "n", Value: []byte("v")})
	f.Add(data[entryHeaderSize:], uint32(6))
	f.Add(data[entryHeaderSize:len(data)-1], uint32(6))
	f.Add([]byte{recordSettle, 1, 30, 0, 0, 0, 1, 0xff}, uint32(1))
	f.Add(appendSettle(nil, &broker.StoreSettle{Lane: 1, First: 1 << 63, Count: 1<<64 - 1}), uint32(1))
	f.Fuzz(func(t *testing.T, records []byte, count uint32) {
		s, err := newStore(Options{Dir: "d", Log: noLog{}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		entry := sealEntry(append(make([]byte, entryHeaderSize), records...), entryHeader{records: count, epoch: s.epoch + 1, number: 1}, nil)
		if err := s.applyEntry(&broker.Turn{}, &Entry{Index: 1, Data: entry}); err != nil {
			return
		}
		for _, l := range s.table.lanes {
			if l.head > l.next || l.count > l.next-l.head {
				t.Errorf("lane %+v", l)
			}
		}
	})
}

// FuzzBlock opens blocks whose checksum is right and whose contents are
// anything.
func FuzzBlock(f *testing.F) {
	good := make([]byte, blockHeaderSize)
	h := blockHeader{lane: 1, first: 1, rawLen: 9, len: 9, indexLen: 4, n: 1, span: 1}
	h.put(good)
	good = append(good, "hello"...)
	f.Add(append(good, 0, 5, 0, 0))
	f.Add(append(good, 0, 6, 0, 0))
	f.Add(good[:70])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= blockHeaderSize {
			binary.LittleEndian.PutUint32(b, blockMagic)
			binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
		}
		blk, reason := (&segment{}).openBlock(b, 64)
		if reason != "" {
			return
		}
		for it := blk.iter(); it.step(); {
			if len(it.data) > len(b) {
				t.Error("message longer than its block")
			}
		}
	})
}
