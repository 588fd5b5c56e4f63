package persistence

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// Buckets of the metadata. docs/format/meta.md lists keys and values.
const (
	bucketState       = 's' // format, applied index, next lane, dropped lanes
	bucketSegments    = 'g' // segment id
	bucketLanes       = 'l' // lane id
	bucketSpans       = 'p' // lane id, span base: settled bits above the head
	bucketCounts      = 'c' // lane id: delivery counts
	bucketDefinitions = 'd' // kind and key, or a digest of them
	bucketKeys        = 'k' // data key id: wrapped key
	bucketLeases      = 'v' // lane id: leases, which end at a deadline
)

var buckets = []byte{bucketState, bucketSegments, bucketLanes, bucketSpans, bucketCounts, bucketDefinitions, bucketKeys, bucketLeases}

// Keys of bucketState.
const (
	stateFormat   = "format"   // u32
	stateApplied  = "applied"  // u64
	stateNextLane = "nextLane" // u64
	stateDropped  = "dropped"  // ranges of lane ids
	stateNameKey  = "nameKey"  // u32
	stateRebuilt  = "rebuilt"  // present: settlements in the log no longer fit, ignore them

	stateLevel = "level" // u32: format level, if the log has reached one

	metaFormat       = 1
	metaFormatLevels = 2 // the same, and a level
)

// metadata is the small transactional table beside the segments. One commit is
// the point at which a checkpoint counts.
type metadata interface {
	// load calls each for all rows of a bucket, in key order; key and value
	// are only valid during the call.
	load(bucket byte, each func(key, value []byte) error) error

	// commit makes all changes of b durable, or none.
	commit(b *metaBatch) error

	close() error
}

// metaBatch is a set of changes in one buffer, so that a hundred thousand
// small rows are no load for the collector.
type metaBatch struct {
	buf []byte
	ops []metaOp
}

type metaOp struct {
	bucket byte
	kind   byte
	key    int32 // length; the key starts at off, the value or range end follows
	value  int32
	off    int
}

const (
	metaPut = iota
	metaDelete
	metaDeleteRange // [key, value)
)

func (b *metaBatch) add(bucket, kind byte, key, value []byte) {
	off := len(b.buf)
	b.buf = append(append(b.buf, key...), value...)
	b.ops = append(b.ops, metaOp{bucket: bucket, kind: kind, key: int32(len(key)), value: int32(len(value)), off: off})
}

// beginPut and endPut are put for a value that is appended to buf in between.
func (b *metaBatch) beginPut(bucket byte, key []byte) { b.add(bucket, metaPut, key, nil) }

func (b *metaBatch) endPut() {
	o := &b.ops[len(b.ops)-1]
	o.value = int32(len(b.buf) - o.off - int(o.key))
}

func (b *metaBatch) put(bucket byte, key, value []byte) { b.add(bucket, metaPut, key, value) }
func (b *metaBatch) delete(bucket byte, key []byte)     { b.add(bucket, metaDelete, key, nil) }
func (b *metaBatch) deleteRange(bucket byte, from, to []byte) {
	b.add(bucket, metaDeleteRange, from, to)
}

func (b *metaBatch) op(i int) (o metaOp, key, value []byte) {
	o = b.ops[i]
	mid := o.off + int(o.key)
	return o, b.buf[o.off:mid:mid], b.buf[mid : mid+int(o.value) : mid+int(o.value)]
}

func (b *metaBatch) putUint64(key string, v uint64) {
	b.put(bucketState, []byte(key), binary.LittleEndian.AppendUint64(nil, v))
}

func laneKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

func spanKey(lane, base uint64) []byte {
	return binary.BigEndian.AppendUint64(laneKey(lane), base)
}

func segmentKey(id uint32) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }

func segmentIDOfKey(k []byte) uint32 { return uint32(binary.BigEndian.Uint64(k)) }

// sort orders the changes by bucket and key, which a B-tree likes. No key may
// be both in a deleted range and put.
func (b *metaBatch) sort() {
	slices.SortFunc(b.ops, func(x, y metaOp) int {
		return cmp.Or(cmp.Compare(x.bucket, y.bucket),
			bytes.Compare(b.buf[x.off:x.off+int(x.key)], b.buf[y.off:y.off+int(y.key)]))
	})
}
