// Package aws is what the AWS services have in common on the wire: Signature
// Version 4 as a server verifies it, the parameters of the Query protocol, the
// shapes of errors in AWS JSON and in XML, identifiers and resource names. It
// knows nothing of brokers and does no I/O.
package aws

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Protocol is how a request is written.
type Protocol uint8

// The protocols.
const (
	Query     Protocol = iota // form parameters in, XML out
	JSON                      // AWS JSON 1.0 both ways
	QueryJSON                 // form parameters in, JSON out (Accept: application/json)
)

// ContentType is that of responses.
func (p Protocol) ContentType() string {
	switch p {
	case JSON:
		return "application/x-amz-json-1.0"
	case QueryJSON:
		return "application/json"
	}
	return "text/xml"
}

// UUID is a random identifier, version 4.
type UUID [16]byte

// NewUUID returns a new one. It is unique, and no secret.
func NewUUID() UUID {
	var u UUID
	binary.LittleEndian.PutUint64(u[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(u[8:], rand.Uint64())
	return u.stamp(4)
}

// UUIDOf makes an identifier of 16 bytes that depend on something else.
func UUIDOf(b [16]byte) UUID { return UUID(b).stamp(8) }

func (u UUID) stamp(version byte) UUID {
	u[6] = u[6]&0x0f | version<<4
	u[8] = u[8]&0x3f | 0x80
	return u
}

// Append appends the text of u.
func (u UUID) Append(dst []byte) []byte {
	dst = hex.AppendEncode(dst, u[0:4])
	dst = hex.AppendEncode(append(dst, '-'), u[4:6])
	dst = hex.AppendEncode(append(dst, '-'), u[6:8])
	dst = hex.AppendEncode(append(dst, '-'), u[8:10])
	return hex.AppendEncode(append(dst, '-'), u[10:16])
}

// String returns the text of u.
func (u UUID) String() string { return string(u.Append(make([]byte, 0, 36))) }

// IsZero reports whether u is not set.
func (u UUID) IsZero() bool { return u == UUID{} }

// NewRequestID returns the identifier of a request.
func NewRequestID() string { return NewUUID().String() }

// ARN is a resource name, arn:partition:service:region:account:resource.
type ARN struct{ Partition, Service, Region, Account, Resource string }

// ParseARN reads a resource name; elements is how many it had, 6 at least if
// ok.
func ParseARN(s string) (a ARN, elements int, ok bool) {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) < 6 || parts[0] != "arn" {
		return ARN{}, len(parts), false
	}
	return ARN{parts[1], parts[2], parts[3], parts[4], parts[5]}, 6, true
}

// String returns the name.
func (a ARN) String() string {
	return "arn:" + a.Partition + ":" + a.Service + ":" + a.Region + ":" + a.Account + ":" + a.Resource
}

// Partition is that of a region.
func Partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

// IsAccount reports whether s is the 12 digits of an account.
func IsAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}
