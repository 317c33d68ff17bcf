package s3

import (
	"encoding/json"
	"fmt"
	"sort"
	"sync"
	"time"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/kv"
	"spoor/internal/policy"
)

// Bucket is what the front keeps of a bucket; the objects are the storage's.
type Bucket struct {
	Name              string             `json:"name"`
	Account           string             `json:"account"`
	Region            string             `json:"region"`
	Created           time.Time          `json:"created"`
	Policy            string             `json:"policy,omitempty"`
	Tags              []Tag              `json:"tags,omitempty"`
	PublicAccessBlock *PublicAccessBlock `json:"public_access_block,omitempty"`
	// Versioned says that versioning was enabled once: there may be versions.
	Versioned bool `json:"versioned,omitempty"`
	// BucketKey is the flag that a bucket's encryption carries.
	BucketKey bool `json:"bucket_key,omitempty"`
	// NoOwnership says that the ownership controls were deleted.
	NoOwnership bool `json:"no_ownership,omitempty"`
	// Lock is the bucket's Object Lock, nil when it has none.
	Lock *Lock `json:"lock,omitempty"`
}

// Tag is a bucket's tag.
type Tag struct{ Key, Value string }

// PublicAccessBlock is a bucket's block of public access.
type PublicAccessBlock struct {
	BlockPublicAcls, IgnorePublicAcls, BlockPublicPolicy, RestrictPublicBuckets bool
}

// Registry holds the buckets of all accounts: names are global, as on AWS. It
// is read from the store at start and changed only in Tx.OnCommit.
type Registry struct {
	mu      sync.RWMutex
	buckets map[string]*Bucket
	writing sync.Mutex // held by a call that changes a bucket, until it is durable
}

// OpenRegistry reads the buckets from the store.
func OpenRegistry(store *kv.Store) (*Registry, error) {
	g := &Registry{buckets: map[string]*Bucket{}}
	err := store.Scan(kv.Key(kv.SpaceState, "s3", "bucket"), func(_, v []byte) (bool, error) {
		var b Bucket
		if err := json.Unmarshal(v, &b); err != nil {
			return false, fmt.Errorf("reading a bucket: %w", err)
		}
		g.buckets[b.Name] = &b
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

func bucketKey(name string) []byte { return kv.Key(kv.SpaceState, "s3", "bucket", name) }

// Bucket returns a bucket. The result must not be changed.
func (g *Registry) Bucket(name string) (*Bucket, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	b, ok := g.buckets[name]
	return b, ok
}

// Exists reports whether a bucket exists.
func (g *Registry) Exists(name string) bool {
	_, ok := g.Bucket(name)
	return ok
}

// Policy is a bucket's policy document, "" without one.
func (g *Registry) Policy(name string) string {
	if b, ok := g.Bucket(name); ok {
		return b.Policy
	}
	return ""
}

// PolicyFor is the policy of a bucket that counts for a caller: a block of
// public access keeps strangers out whatever a public policy says.
func (g *Registry) PolicyFor(name string, caller *aws.Caller) string {
	b, ok := g.Bucket(name)
	switch {
	case !ok:
		return ""
	case b.PublicAccessBlock != nil && b.PublicAccessBlock.RestrictPublicBuckets && caller.AccountID != b.Account && caller.Type != aws.AWSService && public(b.Policy):
		return ""
	}
	return b.Policy
}

// Account is the account that owns a bucket, "" for none.
func (g *Registry) Account(name string) string {
	if b, ok := g.Bucket(name); ok {
		return b.Account
	}
	return ""
}

// list is the account's buckets by name.
func (g *Registry) list(account string) []*Bucket {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var out []*Bucket
	for _, b := range g.buckets {
		if b.Account == account {
			out = append(out, b)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// put writes a bucket with the call's record.
func (g *Registry) put(c *call.Call, b *Bucket) error {
	v, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("encoding a bucket: %w", err)
	}
	c.Tx.Set(bucketKey(b.Name), v)
	c.Tx.OnCommit(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.buckets[b.Name] = b
	})
	return nil
}

func (g *Registry) remove(c *call.Call, name string) {
	c.Tx.Delete(bucketKey(name))
	c.Tx.OnCommit(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.buckets, name)
	})
}

// change copies a bucket for a call to change, with the writers' lock held
// until the change is durable.
func (g *Registry) change(c *call.Call, name string) (*Bucket, error) {
	c.Tx.Lock(&g.writing)
	b, ok := g.Bucket(name)
	if !ok {
		return nil, noSuchBucket(name)
	}
	copied := *b
	return &copied, nil
}

// public reports whether a policy grants something to everybody.
func public(document string) bool {
	p, err := policy.Parse(document, policy.Resource)
	return err == nil && p.Public()
}
