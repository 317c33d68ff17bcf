package verify

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"slices"

	"spoor/internal/tree"
)

// Checkpoint keys that follow each other.
//
// Every digest names the key of its checkpoint and carries the announcements of
// the keys so far, each signed by the key before and the key itself. So along a
// chain of digests a key changes only as it was announced; and a verifier that
// was given one of the keys knows the others by the announcements. Two keys
// that are announced to follow the same one are a forgery of one of them: then
// only a key that was given says which.

// trust finds the keys that the given ones vouch for, and what is wrong with
// the announcements.
func (v *verifier) trust(r *region, nodes []*node) {
	r.trusted = slices.Clone(v.cfg.CheckpointKeys)
	seen := map[string]bool{}
	var all []tree.Announcement
	for _, n := range nodes {
		if !n.sound || n.d.Extension == nil || n.d.Extension.Tree == nil {
			continue
		}
		for _, text := range n.d.Extension.Tree.Announced {
			if seen[text] {
				continue
			}
			seen[text] = true
			a, err := tree.OpenAnnouncement(text)
			if err == nil && a.Name != tree.KeyName(v.account) {
				err = fmt.Errorf("it is of %s", a.Name)
			}
			if err != nil {
				v.badKey(r, n, "the announcement of a checkpoint key does not hold: %v", err)
				continue
			}
			for _, b := range all {
				if bytes.Equal(a.Old, b.Old) && !bytes.Equal(a.New, b.New) {
					v.badKey(r, n, "two checkpoint keys are announced to follow the same one")
				}
			}
			all = append(all, a)
		}
	}
	if len(r.trusted) == 0 || v.cfg.AllCheckpointKeys {
		return // the digests' signatures vouch for their keys, or no more is needed
	}
	forked := func(a tree.Announcement) bool {
		return slices.ContainsFunc(all, func(b tree.Announcement) bool { return bytes.Equal(a.Old, b.Old) && !bytes.Equal(a.New, b.New) })
	}
	for more := true; more; {
		more = false
		for _, a := range all {
			older, newer := r.trusts(a.Old), r.trusts(a.New)
			switch {
			case older && !newer && !forked(a):
				r.trusted, more = append(r.trusted, a.New), true
			case newer && !older:
				r.trusted, more = append(r.trusted, a.Old), true
			}
		}
	}
}

func (r *region) trusts(key ed25519.PublicKey) bool {
	return slices.ContainsFunc(r.trusted, func(k ed25519.PublicKey) bool { return bytes.Equal(k, key) })
}

func (v *verifier) badKey(r *region, n *node, format string, args ...any) {
	if r.badKeys[n.key] {
		return // one finding of a digest's checkpoint says enough
	}
	r.badKeys[n.key] = true
	v.find(Finding{Kind: CheckpointInvalid, Region: r.Region, Bucket: v.cfg.Bucket, Key: n.key, Detail: fmt.Sprintf(format, args...)})
}

// follows checks that the key of a digest's checkpoint is the one of the digest
// before, or was announced to follow it.
func (v *verifier) follows(r *region, prev, n *node) {
	x := n.d.Extension.Tree
	if prev == nil || prev.d.Extension == nil || prev.d.Extension.Tree == nil || prev.d.Extension.Tree.Key == x.Key {
		return
	}
	at, err := tree.ParseVerifierKey(prev.d.Extension.Tree.Key)
	to, err2 := tree.ParseVerifierKey(x.Key)
	if err == nil && err2 == nil {
		for _, text := range x.Announced {
			if a, err := tree.OpenAnnouncement(text); err == nil && a.Name == tree.KeyName(v.account) && bytes.Equal(a.Old, at) {
				at = a.New
			}
		}
		if bytes.Equal(at, to) {
			return
		}
	}
	v.badKey(r, n, "the checkpoint's key %s is not that of the digest before, %s, and was not announced to follow it", x.Key, prev.key)
}

// keysOf are the keys of which one must have signed a digest's checkpoint: the
// one that the digest names, if it may.
func (r *region) keysOf(x string) []ed25519.PublicKey {
	key, err := tree.ParseVerifierKey(x)
	if err == nil && (len(r.trusted) == 0 || r.trusts(key)) {
		return []ed25519.PublicKey{key}
	}
	return r.trusted
}
