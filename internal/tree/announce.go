package tree

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Announcement says that a checkpoint key follows another one. Both sign it:
// the old key hands its word on, and the new one says that what the old key
// signed before is of the same trail. So who trusts either one can trust the
// other.
type Announcement struct {
	Name     string // that the keys are written with
	Old, New ed25519.PublicKey
	At       time.Time
}

// ErrAnnouncement is wrapped by the errors of announcements that do not hold.
var ErrAnnouncement = errors.New("tree: not an announcement of a checkpoint key")

// announced ends the name that an announcement is signed under: no tree has it.
const announced = "/checkpoint-keys"

func (a *Announcement) text() (string, error) {
	older, err := VerifierKey(a.Name, a.Old)
	if err != nil {
		return "", err
	}
	newer, err := VerifierKey(a.Name, a.New)
	if err != nil {
		return "", err
	}
	return a.Name + announced + "\n" + older + "\n" + newer + "\n" + a.At.UTC().Format(time.RFC3339) + "\n", nil
}

// Announce makes the announcement of a key, signed by both.
func Announce(name string, older, newer ed25519.PrivateKey, at time.Time) (string, error) {
	a := Announcement{name, older.Public().(ed25519.PublicKey), newer.Public().(ed25519.PublicKey), at}
	text, err := a.text()
	if err != nil {
		return "", err
	}
	var signers []note.Signer
	for _, key := range []ed25519.PrivateKey{older, newer} {
		v, err := verifier(name+announced, key.Public().(ed25519.PublicKey))
		if err != nil {
			return "", err
		}
		signers = append(signers, signer{v, key})
	}
	msg, err := note.Sign(&note.Note{Text: text}, signers...)
	if err != nil {
		return "", fmt.Errorf("signing an announcement: %w", err)
	}
	return string(msg), nil
}

// OpenAnnouncement reads an announcement that both its keys must have signed.
// Whether either is to be trusted is the caller's to know.
func OpenAnnouncement(msg string) (Announcement, error) {
	var a Announcement
	bad := func(format string, args ...any) (Announcement, error) {
		return Announcement{}, fmt.Errorf("%w: "+format, append([]any{ErrAnnouncement}, args...)...)
	}
	if len(msg) > MaxNote {
		return bad("%d bytes", len(msg))
	}
	lines := strings.SplitN(msg, "\n", 5)
	if len(lines) < 5 || !strings.HasSuffix(lines[0], announced) {
		return bad("it has no four lines")
	}
	a.Name = strings.TrimSuffix(lines[0], announced)
	var err error
	if a.Old, err = ParseVerifierKey(lines[1]); err != nil {
		return bad("%w", err)
	}
	if a.New, err = ParseVerifierKey(lines[2]); err != nil {
		return bad("%w", err)
	}
	if a.At, err = time.Parse(time.RFC3339, lines[3]); err != nil {
		return bad("%w", err)
	}
	if bytes.Equal(a.Old, a.New) {
		return bad("a key does not follow itself")
	}
	want, err := a.text()
	if err != nil {
		return bad("%w", err)
	}
	for _, key := range []ed25519.PublicKey{a.Old, a.New} {
		v, err := verifier(lines[0], key)
		if err != nil {
			return bad("%w", err)
		}
		n, err := note.Open([]byte(msg), note.VerifierList(v))
		if err != nil {
			return bad("a signature: %w", err)
		}
		if n.Text != want {
			return bad("it is written otherwise than announcements are")
		}
	}
	return a, nil
}
