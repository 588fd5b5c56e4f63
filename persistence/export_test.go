package persistence

import "encoding/binary"

// Abandon releases a store as if the process had died: nothing is written.
func (s *Store) Abandon() {
	s.failed.Store(true)
	s.batcher.stop()
	s.mu.Lock()
	s.closed = true
	s.flushed.Broadcast()
	s.mu.Unlock()
	s.abandon()
}

// EntryOf makes an entry with one record.
func EntryOf(version byte, record []byte) []byte {
	data := append(make([]byte, entryHeaderSize), record...)
	data = sealEntry(data, entryHeader{records: 1, epoch: 1, number: 1}, nil)
	data[2] = version
	binary.LittleEndian.PutUint32(data[32:], entryChecksum(data))
	return data
}

// SetKnows makes o those of a program that knows a format level.
func (o *Options) SetKnows(level uint32) { o.knows = level }

// KindsOf lists the kinds of the records of an entry that is not encrypted.
func KindsOf(data []byte) (kinds []byte) {
	h, data, err := openEntry(0, data, nil)
	r := reader{b: data[entryHeaderSize:]}
	for ; err == nil && h.records > 0; h.records-- {
		var kind byte
		kind, _, err = r.record()
		kinds = append(kinds, kind)
	}
	if err != nil {
		panic(err)
	}
	return kinds
}

// LevelOf is the format level of a kind.
func LevelOf(kind byte) uint32 { return levelOf(kind) }

// LevelRecord is the record of a level.
func LevelRecord(level uint32) []byte { return appendLevel(nil, level) }
