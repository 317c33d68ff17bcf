package call

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"spoor/internal/aws"
	"spoor/internal/journal"
	"spoor/internal/record"
)

// wants is what a test's consumers want.
type wants struct{ w *record.Wanted }

func (w wants) Wanted(_, region string) *record.Wanted {
	if region != "us-east-1" {
		return nil
	}
	return w.w
}

// judge grants everything but "secret", and gives the time of its judgement.
type judge struct{ allow }

func (judge) ContextKeys(c *Call, p *Permission, keys []string) map[string]string {
	out := map[string]string{}
	for _, k := range keys {
		switch k {
		case "aws:CurrentTime":
			out[k] = c.Judged.UTC().Format(time.RFC3339)
		case "aws:PrincipalArn":
			out[k] = c.Caller.ARN + " for " + p.Action
		}
	}
	return out
}

// tagged is a step on resources with tags: its own, those of another account,
// and a pattern.
type tagged struct {
	step
	none bool
}

func (s *tagged) Permissions(_ *Call, dst []Permission) ([]Permission, error) {
	if s.none {
		return dst, nil
	}
	tags := map[string][]string{"aws:resourcetag/team": {"red"}, "aws:resourcetag/cost": {"7"}}
	return append(dst, Permission{Action: "test:Do", Resource: s.resource, Context: tags}, Permission{Action: "test:Also", Resource: s.resource, Context: tags},
		Permission{Action: "test:Do", Resource: "arn:theirs", ResourceAccount: "999999999999", Context: tags},
		Permission{Action: "test:Do", Resource: "arn:all/*", Context: tags}, Permission{Action: "test:Do", Resource: "arn:plain"}), nil
}

// TestContext: a record carries the keys and tags that somebody wants, as they
// were when the call was judged, also of a call that was denied; a call that
// nothing was asked about has none, nor has one of another region.
func TestContext(t *testing.T) {
	t.Parallel()
	all := record.Form{Large: true, RequestKeys: []string{"aws:CurrentTime", "aws:PrincipalArn"}, TagKeys: []string{"Team", "stage"}}
	const root = "arn:aws:iam::123456789012:root"
	context1 := `,"eventContext":{"requestContext":{"aws:CurrentTime":"2026-11-24T09:00:01Z","aws:PrincipalArn":"` + root + ` for test:Do"},` +
		`"tagContext":{"resourceTags":[{"arn":"RES","tags":{"Team":"red"}}],"principalTags":{"stage":"dev"}}}}`
	for name, tc := range map[string]struct {
		step   tagged
		region string
		wants  *record.Wanted
		want   string
	}{
		"all":            {tagged{step: step{resource: "mine"}}, "us-east-1", &record.Wanted{RequestKeys: all.RequestKeys, TagKeys: all.TagKeys}, context1},
		"denied":         {tagged{step: step{resource: "secret"}}, "us-east-1", &record.Wanted{RequestKeys: all.RequestKeys, TagKeys: all.TagKeys}, context1},
		"large only":     {tagged{step: step{resource: "mine"}}, "us-east-1", &record.Wanted{}, ""},
		"nobody":         {tagged{step: step{resource: "mine"}}, "us-east-1", nil, ""},
		"another region": {tagged{step: step{resource: "mine"}}, "eu-west-1", &record.Wanted{RequestKeys: all.RequestKeys, TagKeys: all.TagKeys}, ""},
		"not judged":     {tagged{none: true}, "us-east-1", &record.Wanted{RequestKeys: all.RequestKeys, TagKeys: all.TagKeys}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, vfs.NewMem())
			defer f.close(t)
			now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
			f.path.Now = func() time.Time { now = now.Add(time.Second); return now }
			f.path.Auth, f.path.Wants = judge{}, wants{tc.wants}
			c := newCall()
			c.Region = tc.region
			c.Caller = &aws.Caller{Type: aws.Root, AccountID: "123456789012", ARN: root, Tags: map[string]string{"stage": "dev", "team": "another key"}}
			_ = f.path.Run(context.Background(), c, &tc.step)
			n := 0
			if err := f.jr.Read(0, f.jr.Head(), func(it journal.Item) (bool, error) {
				n++
				js, err := it.Form(&all)
				if err != nil {
					return false, err
				}
				want := string(it.JSON[:len(it.JSON)-1])
				if tc.want == "" {
					want += "}"
				} else {
					want += strings.ReplaceAll(tc.want, "RES", tc.step.resource)
				}
				if d := cmp.Diff(want, string(js)); d != "" {
					t.Error(d)
				}
				return true, nil
			}); err != nil || n != 1 {
				t.Errorf("%d records, %v", n, err)
			}
		})
	}
}

// TestContextIsOfItsCall: the buffers that calls share hand no context on to
// the next call.
func TestContextIsOfItsCall(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	defer f.close(t)
	f.path.Auth, f.path.Wants = judge{}, wants{&record.Wanted{RequestKeys: []string{"aws:PrincipalArn"}}}
	form := record.Form{Large: true, RequestKeys: []string{"aws:PrincipalArn"}}
	for i := range 20 {
		if err := f.path.Run(context.Background(), newCall(), &tagged{step: step{resource: "mine"}, none: i%2 == 1}); err != nil {
			t.Fatal(err)
		}
		_ = f.path.Reject(newCall(), aws.NewError(aws.Denied, "Unsigned", "no"), func(r *record.Record) { r.EventName = "Rejected" })
	}
	with := 0
	if err := f.jr.Read(0, f.jr.Head(), func(it journal.Item) (bool, error) {
		js, err := it.Form(&form)
		if len(js) != len(it.JSON) {
			with++
		}
		return true, err
	}); err != nil || with != 10 {
		t.Errorf("%d records have a context, %v", with, err)
	}
}
