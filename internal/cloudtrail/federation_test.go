package cloudtrail

import (
	"errors"
	"slices"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/athena/sql"
	"spoor/internal/glue"
	"spoor/internal/lake"
	"spoor/internal/trail"
)

// federator is a directory with one role that CloudTrail may assume.
type federator struct{ trail.Roles }

func (federator) MayAssume(role, _, _ string) (bool, error) {
	return role == "arn:aws:iam::123456789012:role/federation", nil
}

func (federator) May(role string, use trail.RoleUse) (bool, error) {
	return role == "arn:aws:iam::123456789012:role/federation" && use.Action == "cloudtrail:GetEventDataStoreData" && use.SourceARN == use.Resource, nil
}

// TestFederationRoleWithoutPermission: a role that CloudTrail may assume but
// that may not read the store is refused.
func TestFederationRoleWithoutPermission(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, nil, importer{denied: "cloudtrail:GetEventDataStoreData"})
	c := r.client(region)
	arn := *r.newStore(c, "main").EventDataStoreArn
	in := &sdk.EnableFederationInput{EventDataStore: &arn, FederationRoleArn: new("arn:aws:iam::" + account + ":role/importer")}
	if _, err := c.EnableFederation(t.Context(), in); code(err) != "AccessDeniedException" || !strings.Contains(err.Error(), "cloudtrail:GetEventDataStoreData") {
		t.Errorf("%v", err)
	}
	if got, err := c.GetEventDataStore(t.Context(), &sdk.GetEventDataStoreInput{EventDataStore: &arn}); err != nil || got.FederationStatus != types.FederationStatusDisabled {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestFederation: a federated store is a table of the data catalogue, and hands
// its events to who reads the table.
func TestFederation(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, nil, federator{})
	ctx, c := t.Context(), r.client(region)
	arn := *r.newStore(c, "main").EventDataStoreArn
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	const role = "arn:aws:iam::123456789012:role/federation"
	for _, bad := range []string{"arn:aws:iam::999999999999:role/federation", "arn:aws:iam::123456789012:user/u", "arn:aws:iam::123456789012:role/absent", "nothing"} {
		if _, err := c.EnableFederation(ctx, &sdk.EnableFederationInput{EventDataStore: &id, FederationRoleArn: &bad}); code(err) != "InvalidParameterException" {
			t.Errorf("%s: %v", bad, err)
		}
	}
	read := func() error {
		_, release, err := r.lake.Federated(account, region, id, "t1", &sql.Rewritten{SQL: `SELECT "eventname" FROM "t1"`})
		if release != nil {
			release()
		}
		return err
	}
	if err := read(); !errors.Is(err, lake.ErrNotFederated) {
		t.Errorf("a store that is not federated was handed out: %v", err)
	}
	out, err := c.EnableFederation(ctx, &sdk.EnableFederationInput{EventDataStore: &arn, FederationRoleArn: new(role)})
	if err != nil || out.FederationStatus != types.FederationStatusEnabled || *out.FederationRoleArn != role {
		t.Fatalf("%+v, %v", out, err)
	}
	var actions []string
	for _, p := range r.asked.perms {
		actions = append(actions, p.Action+" "+p.Resource)
	}
	if want := []string{"cloudtrail:EnableFederation " + arn, "iam:PassRole " + role, "glue:CreateDatabase arn:aws:glue:us-east-1:123456789012:database/aws:cloudtrail",
		"glue:CreateTable arn:aws:glue:us-east-1:123456789012:table/aws:cloudtrail/" + id}; !slices.Equal(actions, want) {
		t.Errorf("asked for %v", actions)
	}
	table, err := r.conf.Catalog.Table(glue.Scope{Account: account, Region: region}, glue.FederatedDatabase, id)
	if err != nil || !slices.ContainsFunc(table.Columns, func(x glue.Column) bool { return x.Name == "eventtime" && x.Type == "timestamp" }) {
		t.Errorf("%+v, %v", table, err)
	}
	if err := read(); err != nil {
		t.Error(err)
	}
	if _, err := c.EnableFederation(ctx, &sdk.EnableFederationInput{EventDataStore: &arn, FederationRoleArn: new(role)}); code(err) != "EventDataStoreFederationEnabledException" {
		t.Errorf("twice: %v", err)
	}
	if _, err := c.UpdateEventDataStore(ctx, &sdk.UpdateEventDataStoreInput{EventDataStore: &arn, TerminationProtectionEnabled: new(false)}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteEventDataStore(ctx, &sdk.DeleteEventDataStoreInput{EventDataStore: &arn}); code(err) != "EventDataStoreFederationEnabledException" {
		t.Errorf("deleted while federated: %v", err)
	}
	if got, err := c.GetEventDataStore(ctx, &sdk.GetEventDataStoreInput{EventDataStore: &arn}); err != nil || got.FederationStatus != types.FederationStatusEnabled || *got.FederationRoleArn != role {
		t.Errorf("%+v, %v", got, err)
	}
	if off, err := c.DisableFederation(ctx, &sdk.DisableFederationInput{EventDataStore: &arn}); err != nil || off.FederationStatus != types.FederationStatusDisabled {
		t.Errorf("%+v, %v", off, err)
	}
	if _, err := r.conf.Catalog.Table(glue.Scope{Account: account, Region: region}, glue.FederatedDatabase, id); !errors.Is(err, glue.ErrNoTable) {
		t.Errorf("the table stayed: %v", err)
	}
	if err := read(); !errors.Is(err, lake.ErrNotFederated) {
		t.Errorf("handed out after the end: %v", err)
	}
	if _, err := c.DeleteEventDataStore(ctx, &sdk.DeleteEventDataStoreInput{EventDataStore: &arn}); err != nil {
		t.Error(err)
	}
}
