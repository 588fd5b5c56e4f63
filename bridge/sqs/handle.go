package sqs

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"

	"github.com/hermodmq/hermod/broker"
)

// A receipt handle is, in base64: the queue's number, the message's place, the
// lease, the time of the receive, and a digest of all that with the broker's
// secret, which tells a handle of ours from anything else. It is good on every
// node and after every restart.
const handleSize = 8 + 2 + 8 + 8 + 8 + 8 + 8

// handle is a receipt handle in parts.
type handle struct {
	queue uint64
	token broker.Token
}

func (s *Service) appendHandle(dst []byte, h handle) []byte {
	var b [handleSize]byte
	binary.BigEndian.PutUint64(b[0:], h.queue)
	binary.BigEndian.PutUint16(b[8:], h.token.Place.Level)
	binary.BigEndian.PutUint64(b[10:], h.token.Place.Seq)
	binary.BigEndian.PutUint64(b[18:], h.token.Place.Sub)
	binary.BigEndian.PutUint64(b[26:], uint64(h.token.Lease))
	binary.BigEndian.PutUint64(b[34:], uint64(h.token.Since))
	sum := s.digest(b[:handleSize-8])
	copy(b[handleSize-8:], sum[:8])
	return base64.StdEncoding.AppendEncode(dst, b[:])
}

func (s *Service) digest(b []byte) [sha256.Size]byte {
	var in [sha256.Size + handleSize]byte
	n := copy(in[:], s.secret[:])
	n += copy(in[n:], b)
	return sha256.Sum256(in[:n])
}

// parseHandle reads a receipt handle; ok is false if it is none of ours.
func (s *Service) parseHandle(text string) (h handle, ok bool) {
	var b [handleSize + 2]byte
	if len(text) != base64.StdEncoding.EncodedLen(handleSize) {
		return h, false
	}
	n, err := base64.StdEncoding.Decode(b[:], []byte(text))
	if err != nil || n != handleSize {
		return h, false
	}
	sum := s.digest(b[:handleSize-8])
	if string(sum[:8]) != string(b[handleSize-8:handleSize]) {
		return h, false
	}
	h.queue = binary.BigEndian.Uint64(b[0:])
	h.token.Place.Level = binary.BigEndian.Uint16(b[8:])
	h.token.Place.Seq = binary.BigEndian.Uint64(b[10:])
	h.token.Place.Sub = binary.BigEndian.Uint64(b[18:])
	h.token.Lease = broker.Lease(binary.BigEndian.Uint64(b[26:]))
	h.token.Since = int64(binary.BigEndian.Uint64(b[34:]))
	return h, true
}

func strconvID(id uint64) []byte { return strconv.AppendUint(nil, id, 10) }
