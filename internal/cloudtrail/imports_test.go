package cloudtrail

import (
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/trail"
)

// importer is a directory with one role, from whose permissions a test takes
// one away, or its trust.
type importer struct {
	denied     string
	untrusting bool
}

const importRole = "arn:aws:iam::" + account + ":role/importer"

func (i importer) MayAssume(role, source, acct string) (bool, error) {
	return !i.untrusting && role == importRole && strings.Contains(source, ":eventdatastore/") && acct == account, nil
}

func (i importer) May(role string, use trail.RoleUse) (bool, error) {
	return role == importRole && use.Action != i.denied && strings.Contains(use.SourceARN, ":eventdatastore/") && use.Account == account, nil
}

// TestImportRole: the access role must trust CloudTrail and be able to read the
// source; each permission that lacks is named.
func TestImportRole(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		roles importer
		says  string // "" when the import starts
	}{
		{"all", importer{}, ""},
		{"no trust", importer{untrusting: true}, "trust policy"},
		{"no list", importer{denied: "s3:ListBucket"}, "s3:ListBucket on arn:aws:s3:::logs."},
		{"no acl", importer{denied: "s3:GetBucketAcl"}, "s3:GetBucketAcl on arn:aws:s3:::logs."},
		{"no objects", importer{denied: "s3:GetObject"}, "s3:GetObject on arn:aws:s3:::logs/AWSLogs/*."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRigWith(t, nil, tc.roles)
			c := r.client(region)
			store := *r.newStore(c, "main").EventDataStoreArn
			_, err := c.StartImport(t.Context(), &sdk.StartImportInput{Destinations: []string{store}, ImportSource: &types.ImportSource{
				S3: &types.S3ImportSource{S3LocationUri: new("s3://logs/AWSLogs/"), S3BucketRegion: new(region), S3BucketAccessRoleArn: new(importRole)}}})
			if tc.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if code(err) != "InvalidImportSourceException" || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("%v", err)
			}
			if l, err := c.ListImports(t.Context(), &sdk.ListImportsInput{}); err != nil || len(l.Imports) != 0 {
				t.Errorf("%+v, %v", l, err)
			}
		})
	}
}
