package cloudtrail

import (
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
)

// TestSamplesRun runs every sample query on an event data store with events.
func TestSamplesRun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	arn := *r.newStore(c, "main").EventDataStoreArn
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	if _, err := c.CreateTrail(ctx, create("one-trail")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteTrail(ctx, &sdk.DeleteTrailInput{Name: new("one-trail")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetTrail(ctx, &sdk.GetTrailInput{Name: new("absent")}); code(err) != "TrailNotFoundException" {
		t.Fatal(err)
	}
	if len(samples) < 25 {
		t.Errorf("only %d samples", len(samples))
	}
	names := map[string]bool{}
	found := map[string]int{}
	for _, s := range samples {
		if names[s.name] || s.description == "" || !strings.Contains(s.sql, sampleStore) {
			t.Errorf("%q is there twice or has no description or store", s.name)
		}
		names[s.name] = true
		rows, last := r.query(c, strings.ReplaceAll(s.sql, sampleStore, id))
		if last.QueryStatus != types.QueryStatusFinished {
			t.Errorf("%s: %s %v", s.name, last.QueryStatus, *last.ErrorMessage)
		}
		found[s.name] = len(rows)
	}
	for _, name := range []string{"Who deleted resources", "Root user activity", "Top errors by service", "Most active users", "Events per hour", "Trails stopped or changed", "User agents"} {
		if found[name] == 0 {
			t.Errorf("%s finds nothing", name)
		}
	}
}

func TestSearchSamples(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	for phrase, want := range map[string]string{
		"who signed in to the console without mfa?": "Console sign-ins without MFA",
		"failed logins console":                     "Failed console sign-ins",
		"Show me root user activity":                "Root user activity",
		"which S3 buckets were deleted":             "Buckets created or deleted",
		"access denied":                             "Access denied errors",
		"CreateAccessKey":                           "Access keys created",
		"cross-account roles assumed":               "Roles assumed from other accounts",
		"least privilege for a role":                "Operations that a role uses",
		"throttling":                                "Throttled calls",
	} {
		out, err := c.SearchSampleQueries(ctx, &sdk.SearchSampleQueriesInput{SearchPhrase: &phrase})
		if err != nil || len(out.SearchResults) == 0 {
			t.Errorf("%q: %v", phrase, err)
			continue
		}
		if got := *out.SearchResults[0].Name; got != want {
			t.Errorf("%q: %s, want %s", phrase, got, want)
		}
		for i, x := range out.SearchResults {
			if x.Relevance <= 0 || x.Relevance > 1 || i > 0 && x.Relevance > out.SearchResults[i-1].Relevance {
				t.Errorf("%q: the relevance of %s is %f", phrase, *x.Name, x.Relevance)
			}
		}
		if len(out.SearchResults) > 10 {
			t.Errorf("%q: %d results on a page", phrase, len(out.SearchResults))
		}
	}
	if out, err := c.SearchSampleQueries(ctx, &sdk.SearchSampleQueriesInput{SearchPhrase: new("zebra")}); err != nil || len(out.SearchResults) != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	// All pages together are every result once.
	seen := map[string]bool{}
	in := &sdk.SearchSampleQueriesInput{SearchPhrase: new("calls by caller"), MaxResults: new(int32(3))}
	for {
		out, err := c.SearchSampleQueries(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range out.SearchResults {
			if seen[*x.Name] {
				t.Errorf("%s twice", *x.Name)
			}
			seen[*x.Name] = true
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
		if len(out.SearchResults) != 3 {
			t.Errorf("a page of %d", len(out.SearchResults))
		}
	}
	if len(seen) < 6 {
		t.Errorf("%d results", len(seen))
	}
	in.SearchPhrase, in.NextToken = new("other"), new("bm9uZQ")
	if _, err := c.SearchSampleQueries(ctx, in); code(err) != "InvalidParameterException" {
		t.Errorf("a token of nothing: %v", err)
	}
}

func FuzzSearchWords(f *testing.F) {
	f.Add("Who deleted CreateBucket's policies?")
	f.Add("ÄÖ straßeX İ")
	f.Fuzz(func(t *testing.T, phrase string) {
		v := sampleSearch.query(phrase)
		for i := range samples {
			if r := sampleSearch.relevance(v, i); !(r >= 0 && r <= 1) {
				t.Fatalf("%q has the relevance %f to %s", phrase, r, samples[i].name)
			}
		}
	})
}
