package call

import (
	"crypto/rand"
	"encoding/hex"
	"sync"
)

// entropy is random bytes in advance: a call needs two ids, and asking the
// system for each costs more than the rest of making it.
type entropy struct {
	b    [512]byte
	used int
}

var reserve = sync.Pool{New: func() any {
	e := &entropy{}
	e.used = len(e.b)
	return e
}}

// NewID returns a random UUID (version 4), the form of request and event ids.
func NewID() string {
	e := reserve.Get().(*entropy)
	if e.used == len(e.b) {
		// Does not fail on the platforms that Go supports; it ends the process
		// instead (Go 1.24).
		_, _ = rand.Read(e.b[:])
		e.used = 0
	}
	u := [16]byte(e.b[e.used:])
	clear(e.b[e.used : e.used+16]) // an id is given once
	e.used += 16
	reserve.Put(e)
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	var b [36]byte
	hex.Encode(b[0:8], u[0:4])
	b[8] = '-'
	hex.Encode(b[9:13], u[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], u[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], u[8:10])
	b[23] = '-'
	hex.Encode(b[24:36], u[10:16])
	return string(b[:])
}
