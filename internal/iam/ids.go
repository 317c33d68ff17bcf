package iam

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
)

// Prefixes of unique ids (IAM user guide, "IAM identifiers").
const (
	prefixUser       = "AIDA"
	prefixGroup      = "AGPA"
	prefixRole       = "AROA"
	prefixPolicy     = "ANPA"
	prefixProfile    = "AIPA"
	prefixCredential = "ACCA"
	longTermKey      = "AKIA"
	temporaryKey     = "ASIA"
)

// maxAccount is the largest account id: 12 digits, which fit in 40 bits.
const maxAccount = 999_999_999_999

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // does not fail: it ends the process instead (Go 1.24)
	return b
}

// newID makes a unique id: the prefix and 17 characters.
func newID(prefix string) string {
	return prefix + base32.StdEncoding.EncodeToString(random(11))[:17]
}

// newAccessKeyID makes an access key id of 20 characters. As AWS's do, it
// carries the account: of the 80 bits behind the prefix the first is set, the
// next 40 are the account's number and the rest is random. So a key is looked
// up in one account, and sts:GetAccessKeyInfo needs no lookup at all.
func newAccessKeyID(prefix, account string) string {
	b := random(10)
	n, err := strconv.ParseUint(account, 10, 64)
	if err == nil && n <= maxAccount {
		var head [8]byte
		copy(head[2:], b[:6])
		low := binary.BigEndian.Uint64(head[:]) & 0x7f
		binary.BigEndian.PutUint64(head[:], 1<<47|n<<7|low)
		copy(b, head[2:])
	}
	return prefix + base32.StdEncoding.EncodeToString(b)
}

// AccountOfKey reads the account from an access key id. ok is false for an id
// that carries none.
func AccountOfKey(id string) (account string, ok bool) {
	if len(id) != 20 || (id[:4] != longTermKey && id[:4] != temporaryKey) {
		return "", false
	}
	b, err := base32.StdEncoding.DecodeString(id[4:])
	if err != nil || b[0]&0x80 == 0 {
		return "", false
	}
	var head [8]byte
	copy(head[2:], b[:6])
	n := binary.BigEndian.Uint64(head[:]) >> 7 & (1<<40 - 1)
	if n > maxAccount {
		return "", false
	}
	return fmt.Sprintf("%012d", n), true
}

// newSecret makes a secret access key: 40 characters, 240 random bits.
func newSecret() string { return base64.StdEncoding.EncodeToString(random(30)) }

// newPassword makes a service password: 44 characters, 256 random bits.
func newPassword() string { return base64.StdEncoding.EncodeToString(random(32)) }

// wholeSecond is now as IAM keeps times.
func (d *Directory) wholeSecond() time.Time { return d.now().UTC().Truncate(time.Second) }
