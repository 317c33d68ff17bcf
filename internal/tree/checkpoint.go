package tree

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// MaxNote bounds a checkpoint that is read, with room for other parties'
// signatures.
const MaxNote = 64 << 10

// ErrCheckpoint is wrapped by the errors of checkpoints that are not as C2SP's
// tlog-checkpoint asks.
var ErrCheckpoint = errors.New("tree: not a checkpoint")

// Checkpoint says what a tree was at a size.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   Hash
}

// Origin names a trail's tree in a region.
func Origin(account, homeRegion, trail, region string) string {
	return "spoor/" + account + "/" + homeRegion + "/" + trail + "/" + region
}

// KeyName is the name that an account's checkpoint keys are written with.
func KeyName(account string) string { return "spoor/" + account }

// Text is what is signed.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatUint(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// signer signs under the name of a tree.
type signer struct {
	note.Verifier
	key ed25519.PrivateKey
}

// Sign implements note.Signer.
func (s signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

// Sign gives the checkpoint as a signed note. One key signs for all trees of an
// account; in a note it bears the tree's name, as verifiers expect it to.
func (c Checkpoint) Sign(key ed25519.PrivateKey) (string, error) {
	v, err := verifier(c.Origin, key.Public().(ed25519.PublicKey))
	if err != nil {
		return "", err
	}
	msg, err := note.Sign(&note.Note{Text: c.Text()}, signer{v, key})
	if err != nil {
		return "", fmt.Errorf("signing a checkpoint: %w", err)
	}
	return string(msg), nil
}

func verifier(name string, key ed25519.PublicKey) (note.Verifier, error) {
	text, err := VerifierKey(name, key)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("a checkpoint key: %w", err)
	}
	return v, nil
}

// VerifierKey writes a public key as the signed note format does, under a name.
func VerifierKey(name string, key ed25519.PublicKey) (string, error) {
	text, err := note.NewEd25519VerifierKey(name, key)
	if err != nil {
		return "", fmt.Errorf("writing a checkpoint key: %w", err)
	}
	return text, nil
}

// ParseVerifierKey reads what VerifierKey wrote. The name is passed over.
func ParseVerifierKey(text string) (ed25519.PublicKey, error) {
	text = strings.TrimSpace(text)
	if _, err := note.NewVerifier(text); err != nil {
		return nil, fmt.Errorf("reading a checkpoint key: %w", err)
	}
	// The third part may itself hold a '+', of base64.
	raw, err := base64.StdEncoding.DecodeString(strings.SplitN(text, "+", 3)[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize {
		return nil, errors.New("reading a checkpoint key: it is not an Ed25519 key")
	}
	return ed25519.PublicKey(raw[1:]), nil
}

// ParseCheckpoint reads a checkpoint without looking at its signatures. It
// takes the bare text too.
func ParseCheckpoint(msg string) (Checkpoint, error) {
	var c Checkpoint
	if len(msg) > MaxNote {
		return c, fmt.Errorf("%w: %d bytes", ErrCheckpoint, len(msg))
	}
	lines := strings.SplitN(msg, "\n", 4)
	if len(lines) < 4 || lines[0] == "" {
		return c, fmt.Errorf("%w: it has no three lines", ErrCheckpoint)
	}
	size, err := strconv.ParseUint(lines[1], 10, 63)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return c, fmt.Errorf("%w: the size %q", ErrCheckpoint, lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return c, fmt.Errorf("%w: the root: %w", ErrCheckpoint, err)
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: root}, nil
}

// OpenCheckpoint reads a checkpoint that one of the keys must have signed.
func OpenCheckpoint(msg string, keys []ed25519.PublicKey) (Checkpoint, error) {
	c, err := ParseCheckpoint(msg)
	if err != nil {
		return c, err
	}
	known := make([]note.Verifier, 0, len(keys))
	for _, k := range keys {
		v, err := verifier(c.Origin, k)
		if err != nil {
			return c, err
		}
		known = append(known, v)
	}
	n, err := note.Open([]byte(msg), note.VerifierList(known...))
	if err != nil {
		return c, fmt.Errorf("a checkpoint's signature: %w", err)
	}
	// The note may hold more lines than the three; they are signed too.
	return ParseCheckpoint(n.Text)
}
