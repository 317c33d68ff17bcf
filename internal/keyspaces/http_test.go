package keyspaces

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	api "github.com/aws/aws-sdk-go-v2/service/keyspaces"
	apitypes "github.com/aws/aws-sdk-go-v2/service/keyspaces/types"

	"spoor/internal/awshttp"
	"spoor/internal/call"
)

// signed takes every signature for the session's.
type signed struct{ sess *Session }

func (s signed) Authenticate(*http.Request, []byte, string, bool) (*awshttp.Identity, error) {
	return &awshttp.Identity{Caller: s.sess.Caller, Region: s.sess.Region}, nil
}

// TestHTTP: what AWS's SDK defines, CQL sees, and the other way round; each call
// is recorded under its CQL name.
func TestHTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h, err := awshttp.NewHandler(awshttp.Config{Path: b.svc.path, Auth: signed{b.sess}, Services: []*call.Service{b.svc.HTTP()}, S3: http.NotFoundHandler(),
		Log: quietLog, Region: "us-east-1", Account: "111122223333"})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c := api.New(api.Options{BaseEndpoint: &srv.URL, Region: "us-east-1", RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "s", "")})
	ctx := t.Context()
	recorded := func(event string, category bool, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", event, err)
		}
		all := b.records()
		r := all[len(all)-1]
		if r["eventName"] != event || r["managementEvent"] != category || r["eventSource"] != "cassandra.amazonaws.com" || r["responseElements"] != nil || r["apiVersion"] != "3.4.4" {
			t.Errorf("the record of %s is %v", event, r)
		}
	}
	ks, table := pointer("shop"), pointer("orders")
	made, err := c.CreateKeyspace(ctx, &api.CreateKeyspaceInput{KeyspaceName: ks, Tags: []apitypes.Tag{{Key: pointer("team"), Value: pointer("a")}}})
	recorded("CreateKeyspace", true, err)
	if p := b.rules.asked; len(p) != 2 || p[1].Action != "cassandra:TagResource" || !slices.Equal(p[1].Context["aws:requesttag/team"], []string{"a"}) {
		t.Errorf("a keyspace with tags needs %+v", p)
	}
	if *made.ResourceArn != "arn:aws:cassandra:us-east-1:111122223333:/keyspace/shop/" {
		t.Error(*made.ResourceArn)
	}
	_, err = c.CreateTable(ctx, &api.CreateTableInput{KeyspaceName: ks, TableName: table, Comment: &apitypes.Comment{Message: pointer("all")},
		SchemaDefinition: &apitypes.SchemaDefinition{
			AllColumns: []apitypes.ColumnDefinition{{Name: pointer("id"), Type: pointer("uuid")}, {Name: pointer("at"), Type: pointer("timestamp")},
				{Name: pointer("items"), Type: pointer("map<text, int>")}, {Name: pointer("who"), Type: pointer("text")}},
			PartitionKeys:  []apitypes.PartitionKey{{Name: pointer("id")}},
			ClusteringKeys: []apitypes.ClusteringKey{{Name: pointer("at"), OrderBy: apitypes.SortOrderDesc}},
			StaticColumns:  []apitypes.StaticColumn{{Name: pointer("who")}},
		}})
	recorded("CreateTable", true, err)
	b.must("INSERT INTO shop.orders (id, at, items, who) VALUES (uuid(), toTimestamp(now()), {'pen': 2}, 'eve')")
	_, err = c.UpdateTable(ctx, &api.UpdateTableInput{KeyspaceName: ks, TableName: table, AddColumns: []apitypes.ColumnDefinition{{Name: pointer("note"), Type: pointer("text")}}})
	recorded("AlterTable", true, err)
	got, err := c.GetTable(ctx, &api.GetTableInput{KeyspaceName: ks, TableName: table})
	recorded("Select", false, err)
	if d := got.SchemaDefinition; got.Status != apitypes.TableStatusActive || len(d.AllColumns) != 5 || d.ClusteringKeys[0].OrderBy != apitypes.SortOrderDesc || *d.StaticColumns[0].Name != "who" {
		t.Errorf("%+v", got)
	}
	arn := got.ResourceArn
	_, err = c.TagResource(ctx, &api.TagResourceInput{ResourceArn: arn, Tags: []apitypes.Tag{{Key: pointer("k"), Value: pointer("v")}, {Key: pointer("l"), Value: pointer("w")}}})
	recorded("AlterTable", true, err)
	if p := b.rules.asked; len(p) != 1 || !slices.Equal(p[0].Context["aws:tagkeys"], []string{"k", "l"}) || p[0].Context["aws:resourcetag/k"] != nil {
		t.Errorf("tagging needs %+v", p)
	}
	_, err = c.UntagResource(ctx, &api.UntagResourceInput{ResourceArn: arn, Tags: []apitypes.Tag{{Key: pointer("k"), Value: pointer("v")}}})
	recorded("AlterTable", true, err)
	tags, err := c.ListTagsForResource(ctx, &api.ListTagsForResourceInput{ResourceArn: arn})
	recorded("Select", false, err)
	if len(tags.Tags) != 1 || *tags.Tags[0].Key != "l" {
		t.Errorf("%+v", tags.Tags)
	}
	list, err := c.ListTables(ctx, &api.ListTablesInput{KeyspaceName: ks})
	recorded("Select", false, err)
	if len(list.Tables) != 1 || *list.Tables[0].TableName != "orders" {
		t.Errorf("%+v", list.Tables)
	}
	seen, token := map[string]bool{}, (*string)(nil)
	for {
		p, err := c.ListKeyspaces(ctx, &api.ListKeyspacesInput{MaxResults: pointer(int32(1)), NextToken: token})
		recorded("Select", false, err)
		seen[*p.Keyspaces[0].KeyspaceName] = true
		if token = p.NextToken; token == nil {
			break
		}
	}
	if len(seen) != 4 || !seen["shop"] || !seen["system_schema_mcs"] {
		t.Error(seen)
	}
	_, err = c.CreateType(ctx, &api.CreateTypeInput{KeyspaceName: ks, TypeName: pointer("addr"), FieldDefinitions: []apitypes.FieldDefinition{{Name: pointer("street"), Type: pointer("text")}}})
	recorded("CreateUdt", true, err)
	_, err = c.DeleteType(ctx, &api.DeleteTypeInput{KeyspaceName: ks, TypeName: pointer("addr")})
	recorded("DropUdt", true, err)

	var notFound *apitypes.ResourceNotFoundException
	if _, err = c.GetTable(ctx, &api.GetTableInput{KeyspaceName: ks, TableName: pointer("none")}); !errors.As(err, &notFound) {
		t.Errorf("an unknown table: %v", err)
	}
	var conflict *apitypes.ConflictException
	if _, err = c.CreateKeyspace(ctx, &api.CreateKeyspaceInput{KeyspaceName: ks}); !errors.As(err, &conflict) {
		t.Errorf("a keyspace that exists: %v", err)
	}
	_, err = c.DeleteTable(ctx, &api.DeleteTableInput{KeyspaceName: ks, TableName: table})
	recorded("DropTable", true, err)
	_, err = c.DeleteKeyspace(ctx, &api.DeleteKeyspaceInput{KeyspaceName: ks})
	recorded("DropKeyspace", true, err)
	if e := b.refused("SELECT * FROM shop.orders"); e.Message != "Keyspace shop does not exist" {
		t.Error(fmt.Sprint(e))
	}
}
