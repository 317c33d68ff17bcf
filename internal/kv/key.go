package kv

import "encoding/binary"

// Space is the first byte of every key: which part of the server owns it.
// A space's number is part of the format and never reused.
type Space byte

const (
	SpaceMeta    Space = 0x01 // format version and other facts about the store itself
	SpaceJournal Space = 0x02 // journal entries by sequence number
	SpaceIntent  Space = 0x03 // calls under way whose effect lies outside the store
	SpaceStream  Space = 0x04 // last sequence number per account and region
	SpaceCursor  Space = 0x05 // positions of the journal's readers
	SpaceHistory Space = 0x06 // event history index
	SpaceState   Space = 0x07 // services' state: Key(SpaceState, service, table, account, region, id…)
	SpaceDeliver Space = 0x08 // trail delivery: files and digests being delivered
	SpaceLake    Space = 0x09 // event data stores: their events and what reads for them
	SpaceCopy    Space = 0x0A // columnar copies of log files: which there are
	SpaceInsight Space = 0x0B // Insights: counts of calls, baselines, open insights
	SpaceCQL     Space = 0x10 // CQL rows
	SpaceSecret  Space = 0x11 // sealed secrets
)

// Key builds a key in a space from strings. Each part is escaped and
// terminated, so that keys order by their parts and no part can run into the
// next: 0x00 becomes 0x00 0xFF and the terminator is 0x00 0x01.
func Key(space Space, parts ...string) []byte {
	n := 1
	for _, p := range parts {
		n += len(p) + 2
	}
	k := make([]byte, 1, n)
	k[0] = byte(space)
	for _, p := range parts {
		k = AppendString(k, p)
	}
	return k
}

// AppendString appends an order-preserving, self-delimiting form of s.
func AppendString(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		dst = append(dst, s[i])
		if s[i] == 0 {
			dst = append(dst, 0xFF)
		}
	}
	return append(dst, 0, 1)
}

// DecodeString reads what AppendString wrote and returns the rest. ok is false
// when key has no complete string at its start.
func DecodeString(key []byte) (s string, rest []byte, ok bool) {
	var out []byte
	for i := 0; i+1 < len(key); i++ {
		if key[i] != 0 {
			continue
		}
		switch key[i+1] {
		case 1:
			return string(append(out, key[:i]...)), key[i+2:], true
		case 0xFF:
			out = append(out, key[:i+1]...)
			key, i = key[i+2:], -1
		default:
			return "", nil, false
		}
	}
	return "", nil, false
}

// AppendUint64 appends v big-endian, which orders as the number does.
func AppendUint64(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }

// PrefixEnd is the first key after all keys with the prefix, or nil when there
// is none.
func PrefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xFF {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}
