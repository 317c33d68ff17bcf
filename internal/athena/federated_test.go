package athena

import (
	"context"
	"strings"
	"testing"

	"spoor/internal/athena/sql"
	"spoor/internal/call"
	"spoor/internal/engine/duckdb"
	"spoor/internal/glue"
	"spoor/internal/policy"
)

// shelf is one federated store with two events.
type shelf struct {
	held, given   int
	policy, owner string // of the store, as its permissions have them
}

func (s *shelf) Permission(action, arn string) call.Permission {
	return call.Permission{Action: action, Resource: arn, ResourcePolicy: s.policy, ResourceAccount: s.owner}
}

func (s *shelf) Federated(_, _, id, name string, q *sql.Rewritten) (duckdb.Relation, func() int64, error) {
	s.held++
	s.given++
	rel := duckdb.Relation{Name: name, Columns: []duckdb.Column{{Name: "eventname", Type: "VARCHAR"}}}
	rel.Parts = []duckdb.Part{func(_ context.Context, emit func([]any) error) error {
		for _, v := range []string{"CreateTrail", id} {
			if err := emit([]any{v}); err != nil {
				return err
			}
		}
		return nil
	}}
	return rel, func() int64 { s.held--; return 77 }, nil
}

// TestFederatedStore: a federated event data store is a table that Athena reads
// and does not change.
func TestFederatedStore(t *testing.T) {
	t.Parallel()
	const id = "123e4567-e89b-12d3-a456-426614174000"
	b := newBench(t)
	stores := &shelf{}
	b.svc.cfg.Stores = stores
	scope := glue.Scope{Account: account, Region: region}
	batch := b.kv.NewBatch()
	for _, err := range []error{
		b.svc.cfg.Catalog.PutDatabase(batch, scope, glue.Database{Name: glue.FederatedDatabase}),
		b.svc.cfg.Catalog.PutTable(batch, scope, glue.Table{Database: glue.FederatedDatabase, Name: id, Columns: []glue.Column{{Name: "eventname", Type: "string"}}}),
		b.journal.Commit(batch),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	table := `"aws:cloudtrail"."` + id + `"`
	q := b.run(`SELECT eventName FROM ` + table + ` ORDER BY 1 DESC`)
	if got := b.object("out/" + *q.QueryExecutionId + ".csv"); got != "\"eventname\"\n\"CreateTrail\"\n\""+id+"\"\n" {
		t.Errorf("%q, %+v", got, q.Status)
	}
	if *q.Statistics.DataScannedInBytes != 77 || stores.given != 1 || stores.held != 0 {
		t.Errorf("scanned %d, given %d, held %d", *q.Statistics.DataScannedInBytes, stores.given, stores.held)
	}
	for _, statement := range []string{"DROP TABLE `aws:cloudtrail`.`" + id + "`", "DROP DATABASE `aws:cloudtrail`", "CREATE DATABASE `aws:cloudtrail`",
		"ALTER TABLE `aws:cloudtrail`.`" + id + "` ADD COLUMNS (x int)"} {
		if got := b.refused(statement); !strings.Contains(got, "managed by AWS CloudTrail") {
			t.Errorf("%s: %s", statement, got)
		}
	}
	if _, err := b.svc.cfg.Catalog.Table(scope, glue.FederatedDatabase, id); err != nil {
		t.Error(err)
	}
	b.rules.set(func(p call.Permission) bool {
		return p.Action == "cloudtrail:GetEventDataStoreData" && strings.HasSuffix(p.Resource, ":eventdatastore/"+id)
	})
	if got := b.refused(`SELECT 1 FROM ` + table); !strings.Contains(got, "GetEventDataStoreData") || stores.given != 1 {
		t.Errorf("%s, given %d", got, stores.given)
	}
	// The caller's own policies allow everything.
	all, err := policy.Parse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`, policy.Identity)
	if err != nil {
		t.Fatal(err)
	}
	b.rules.set(func(p call.Permission) bool {
		if p.Action != "cloudtrail:GetEventDataStoreData" {
			return false
		}
		in := policy.Input{Identity: []*policy.Policy{all}, ResourceAccount: p.ResourceAccount}
		if p.ResourcePolicy != "" {
			if in.Resource, err = policy.Parse(p.ResourcePolicy, policy.Resource); err != nil {
				t.Error(err)
			}
		}
		return !policy.Evaluate(&policy.Request{Principal: policy.Principal{ARN: "arn:aws:iam::" + account + ":user/u", AccountID: account}, Action: p.Action, Resource: p.Resource}, &in).Allowed
	})
	statement := func(effect string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"` + effect + `","Principal":{"AWS":"` + account + `"},"Action":"cloudtrail:*","Resource":"*"}]}`
	}
	for _, tc := range []struct {
		name, policy, owner string
		given               bool
	}{
		{"no policy", "", account, true},
		{"a Deny", statement("Deny"), account, false},
		{"another account's without a policy", "", "999999999999", false},
		{"another account's with an Allow", statement("Allow"), "999999999999", true},
	} {
		stores.policy, stores.owner, stores.given = tc.policy, tc.owner, 0
		if tc.given {
			b.run(`SELECT 1 FROM ` + table)
		} else if got := b.refused(`SELECT 1 FROM ` + table); !strings.Contains(got, "GetEventDataStoreData") {
			t.Errorf("%s: %s", tc.name, got)
		}
		if (stores.given == 1) != tc.given {
			t.Errorf("%s: given %d", tc.name, stores.given)
		}
	}
}
