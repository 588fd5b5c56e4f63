package persistence

import (
	"encoding/binary"
	"hash/crc32"
)

// An entry is what the Log orders: a header and records. docs/format/entry.md
// draws it. All numbers are little endian.
//
//	0 magic u16 | 2 version u8 | 3 flags u8 | 4 records u32 | 8 raw length u32
//	12 stored length u32 | 16 epoch u64 | 24 number u64 | 32 crc32c u32 | 36 key id u32
const (
	entryHeaderSize = 40
	entryMagic      = 0x4548 // "HE"
	entryVersion    = 1

	entryEncrypted = 1 << 0
	entryMore      = 1 << 1 // the batch goes on in the next entry of this epoch
	entrySplit     = 1 << 2 // so does the last record; its number counts here
	entryFlags     = entryEncrypted | entryMore | entrySplit
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entryHeader is the decoded header. epoch names the process that proposed the
// entry, number counts its entries from 1: together they tell a process its
// own entries and make the nonce of encryption.
type entryHeader struct {
	flags   uint8
	records uint32
	rawLen  uint32
	bodyLen uint32
	epoch   uint64
	number  uint64
	keyID   uint32
}

func (h *entryHeader) put(b []byte) {
	binary.LittleEndian.PutUint16(b, entryMagic)
	b[2] = entryVersion
	b[3] = h.flags
	binary.LittleEndian.PutUint32(b[4:], h.records)
	binary.LittleEndian.PutUint32(b[8:], h.rawLen)
	binary.LittleEndian.PutUint32(b[12:], h.bodyLen)
	binary.LittleEndian.PutUint64(b[16:], h.epoch)
	binary.LittleEndian.PutUint64(b[24:], h.number)
	binary.LittleEndian.PutUint32(b[32:], 0)
	binary.LittleEndian.PutUint32(b[36:], h.keyID)
}

func entryChecksum(b []byte) uint32 {
	sum := crc32.Update(0, castagnoli, b[:32])
	return crc32.Update(sum, castagnoli, b[36:])
}

// sealEntry completes data, whose first entryHeaderSize bytes are room for the
// header and whose rest are records, and returns the bytes to propose: data
// itself, or a sealed copy if the keyring encrypts.
func sealEntry(data []byte, h entryHeader, keys *keyring) []byte {
	h.rawLen = uint32(len(data) - entryHeaderSize)
	h.bodyLen = h.rawLen
	if keys.enabled() {
		h.flags |= entryEncrypted
		h.keyID = keys.current
		h.bodyLen += gcmOverhead
		h.put(data)
		out := make([]byte, entryHeaderSize, len(data)+gcmOverhead)
		copy(out, data)
		aead := keys.entryAEAD(h.keyID, h.epoch)
		data = aead.Seal(out, counterNonce(h.number), data[entryHeaderSize:], data[:entryHeaderSize])
	}
	h.put(data)
	binary.LittleEndian.PutUint32(data[32:], entryChecksum(data))
	return data
}

// openEntry checks an entry and returns its header and a buffer whose bytes
// from entryHeaderSize on are the records. The buffer is data itself or, if
// the entry was encrypted, a new one.
func openEntry(index uint64, data []byte, keys *keyring) (entryHeader, []byte, error) {
	bad := func(reason string) (entryHeader, []byte, error) {
		return entryHeader{}, nil, &CorruptionError{File: "log", Offset: int64(index), Reason: reason}
	}
	if len(data) < entryHeaderSize {
		return bad("entry shorter than its header")
	}
	if binary.LittleEndian.Uint16(data) != entryMagic {
		return bad("entry magic")
	}
	if entryChecksum(data) != binary.LittleEndian.Uint32(data[32:]) {
		return bad("entry checksum")
	}
	if data[2] != entryVersion || data[3]&^entryFlags != 0 {
		return entryHeader{}, nil, formatError("entry", int(data[2]))
	}
	h := entryHeader{
		flags:   data[3],
		records: binary.LittleEndian.Uint32(data[4:]),
		rawLen:  binary.LittleEndian.Uint32(data[8:]),
		bodyLen: binary.LittleEndian.Uint32(data[12:]),
		epoch:   binary.LittleEndian.Uint64(data[16:]),
		number:  binary.LittleEndian.Uint64(data[24:]),
		keyID:   binary.LittleEndian.Uint32(data[36:]),
	}
	if int(h.bodyLen) != len(data)-entryHeaderSize {
		return bad("entry length")
	}
	if h.flags&entryEncrypted == 0 {
		return h, data, nil
	}
	if !keys.has(h.keyID) {
		return entryHeader{}, nil, ErrKeyRequired
	}
	var aad [entryHeaderSize]byte
	copy(aad[:], data)
	clear(aad[32:36])
	out := make([]byte, entryHeaderSize, len(data))
	copy(out, aad[:])
	plain, err := keys.entryAEAD(h.keyID, h.epoch).Open(out, counterNonce(h.number), data[entryHeaderSize:], aad[:])
	if err != nil {
		return bad("entry does not decrypt")
	}
	return h, plain, nil
}
