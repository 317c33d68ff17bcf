package trail

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"spoor/internal/digest"
)

// A WORM trail's files are locked in the bucket (S3's Object Lock), so that
// nobody deletes them before their time: neither who holds the trail's account
// nor, with mode COMPLIANCE, who holds the bucket's. CloudTrail has no setting
// for it; on AWS the bucket's default retention does it. That works here too,
// and --trail-retention gives a retention of the trail's own.
//
// What each file was locked with is in the digest, under its signature, so that
// a verifier knows what has to be there and a lock that was shortened or never
// set is found.

// Modes of a retention.
const (
	Governance = "GOVERNANCE" // may be bypassed with s3:BypassGovernanceRetention
	Compliance = "COMPLIANCE" // by nobody
)

// maxRetentionDays is S3's limit.
const maxRetentionDays = 36500

// Retention says for how long files are locked.
type Retention = digest.Retention

// Lock is what one object is locked with.
type Lock = digest.Lock

// Locker is a Bucket with Object Lock.
type Locker interface {
	// DefaultRetention is the bucket's own, nil without one.
	DefaultRetention(bucket string) *Retention
	// PutLocked is Put of an object that is locked from now on. It returns what
	// the object is locked with, which an earlier attempt may have set.
	PutLocked(ctx context.Context, bucket, key string, body []byte, o PutOptions, r Retention) (Lock, error)
}

// retentions are the settings: by trail, and "" for those without one.
type retentions map[string]*Retention

// parseRetentions reads settings of the form [ARN=]MODE:DAYS.
func parseRetentions(texts []string) (retentions, error) {
	out := retentions{}
	for _, text := range texts {
		arn, rule := "", text
		if i := strings.LastIndexByte(text, '='); i >= 0 {
			arn, rule = text[:i], text[i+1:]
			if _, _, _, err := digest.TrailName(arn); err != nil {
				return nil, fmt.Errorf("the retention %q: %w", text, err)
			}
		}
		mode, days, ok := strings.Cut(rule, ":")
		mode = strings.ToUpper(mode)
		n, err := strconv.Atoi(days)
		if !ok || err != nil || n < 1 || n > maxRetentionDays || mode != Governance && mode != Compliance {
			return nil, fmt.Errorf("the retention %q is not [TRAIL-ARN=]GOVERNANCE:DAYS or [TRAIL-ARN=]COMPLIANCE:DAYS with 1 to %d days", text, maxRetentionDays)
		}
		if out[arn] != nil {
			return nil, fmt.Errorf("the retention %q is the second of its trail", text)
		}
		out[arn] = &Retention{Mode: mode, Days: n}
	}
	return out, nil
}

// of is the setting for a trail, nil without one.
func (r retentions) of(arn string) *Retention {
	if x := r[arn]; x != nil {
		return x
	}
	return r[""]
}

// retention is what a trail's files in a bucket are locked with, nil for
// nothing. explicit says that it is the trail's own: then the service asks for
// it, and the bucket's policy has to let it.
func (m *Manager) retention(arn, bucket string) (r *Retention, explicit bool) {
	if r := m.retentions.of(arn); r != nil {
		return r, true
	}
	if l, ok := m.cfg.Bucket.(Locker); ok {
		return l.DefaultRetention(bucket), false
	}
	return nil, false
}

// put uploads a file, locked if the trail's files are.
func (m *Manager) put(ctx context.Context, arn, bucket, key string, body []byte, o PutOptions) (*Lock, error) {
	r, _ := m.retention(arn, bucket)
	if r == nil {
		return nil, m.cfg.Bucket.Put(ctx, bucket, key, body, o)
	}
	l, ok := m.cfg.Bucket.(Locker)
	if !ok {
		return nil, fmt.Errorf("the storage of bucket %s has no Object Lock", bucket)
	}
	lock, err := l.PutLocked(ctx, bucket, key, body, o, *r)
	if err != nil {
		return nil, err
	}
	return &lock, nil
}

// lockContext are the condition keys of a request that sets a retention.
func lockContext(keys map[string][]string, r *Retention, now time.Time) {
	until := r.Until(now)
	keys["s3:object-lock-mode"] = []string{r.Mode}
	keys["s3:object-lock-retain-until-date"] = []string{until.UTC().Format(time.RFC3339)}
	keys["s3:object-lock-remaining-retention-days"] = []string{strconv.FormatInt(int64((until.Sub(now)+24*time.Hour-1)/(24*time.Hour)), 10)}
}
