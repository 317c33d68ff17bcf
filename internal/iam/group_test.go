package iam

import (
	"fmt"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"
)

// TestGroupLife is a group from creation to deletion, with every conflict on
// the way.
func TestGroupLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	made, err := c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: new("Dev"), Path: new("/eng/")})
	w.must(err)
	g := made.Group
	if *g.Arn != "arn:aws:iam::111122223333:group/eng/Dev" || !strings.HasPrefix(*g.GroupId, "AGPA") || len(*g.GroupId) != 21 || *g.Path != "/eng/" || g.CreateDate == nil {
		t.Errorf("created %+v", g)
	}
	alice := w.user("alice", "")
	admin := new("arn:aws:iam::aws:policy/ReadOnlyAccess")
	w.try([]attempt{
		{"same name", func() error { return drop(c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: new("DEV")})) },
			"EntityAlreadyExists: Group with name DEV already exists."},
		{"bad path", func() error {
			return drop(c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: new("x"), Path: new("eng")}))
		}, "ValidationError: The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters."},
		{"path of other characters", func() error {
			return drop(c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: new("x"), Path: new("/a b/")}))
		}, "ValidationError: The specified value for path is invalid."},
		{"bad name", func() error { return drop(c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: new("a b")})) },
			"ValidationError: The specified value for groupName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"},
		{"long name", func() error {
			return drop(c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: new(strings.Repeat("a", 129))}))
		}, "ValidationError: 1 validation error detected: Value "},
		{"denied", func() error { return drop(alice.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: new("x")})) },
			"AccessDenied: User: arn:aws:iam::111122223333:user/alice is not authorized to perform: iam:CreateGroup on resource: arn:aws:iam::111122223333:group/x because no identity-based policy allows the iam:CreateGroup action"},
		{"denied of what is not there", func() error { return drop(alice.GetGroup(ctx, &sdk.GetGroupInput{GroupName: new("none")})) }, "AccessDenied: "},
		{"unknown", func() error { return drop(c.GetGroup(ctx, &sdk.GetGroupInput{GroupName: new("none")})) },
			"NoSuchEntity: The group with name none cannot be found."},
		{"add unknown user", func() error {
			return drop(c.AddUserToGroup(ctx, &sdk.AddUserToGroupInput{GroupName: new("Dev"), UserName: new("bob")}))
		}, "NoSuchEntity: The user with name bob cannot be found."},
		{"add to unknown group", func() error {
			return drop(c.AddUserToGroup(ctx, &sdk.AddUserToGroupInput{GroupName: new("none"), UserName: new("alice")}))
		}, "NoSuchEntity: The group with name none cannot be found."},
		{"add", func() error {
			return drop(c.AddUserToGroup(ctx, &sdk.AddUserToGroupInput{GroupName: new("dev"), UserName: new("Alice")}))
		}, ""},
		{"add again", func() error {
			return drop(c.AddUserToGroup(ctx, &sdk.AddUserToGroupInput{GroupName: new("Dev"), UserName: new("alice")}))
		}, ""},
		{"user in group", func() error { return drop(c.DeleteUser(ctx, &sdk.DeleteUserInput{UserName: new("alice")})) },
			"DeleteConflict: Cannot delete entity, must remove users from group first."},
		{"group with user", func() error { return drop(c.DeleteGroup(ctx, &sdk.DeleteGroupInput{GroupName: new("Dev")})) },
			"DeleteConflict: Cannot delete entity, must remove users from group first."},
		{"put policy", func() error {
			return drop(c.PutGroupPolicy(ctx, &sdk.PutGroupPolicyInput{GroupName: new("Dev"), PolicyName: new("p"),
				PolicyDocument: document(`{"Effect":"Allow","Action":"iam:GetGroup","Resource":"*"}`)}))
		}, ""},
		{"the member may now", func() error { return drop(alice.GetGroup(ctx, &sdk.GetGroupInput{GroupName: new("Dev")})) }, ""},
		{"malformed", func() error {
			return drop(c.PutGroupPolicy(ctx, &sdk.PutGroupPolicyInput{GroupName: new("Dev"), PolicyName: new("q"), PolicyDocument: new("{}")}))
		}, "MalformedPolicyDocument: "},
		{"too large", func() error {
			return drop(c.PutGroupPolicy(ctx, &sdk.PutGroupPolicyInput{GroupName: new("Dev"), PolicyName: new("q"),
				PolicyDocument: document(`{"Effect":"Allow","Action":"iam:GetGroup","Resource":"arn:aws:iam::*:group/` + strings.Repeat("x", 5000) + `"}`)}))
		}, "LimitExceeded: Maximum policy size of 5120 bytes exceeded for group Dev"},
		{"attach", func() error {
			return drop(c.AttachGroupPolicy(ctx, &sdk.AttachGroupPolicyInput{GroupName: new("Dev"), PolicyArn: admin}))
		}, ""},
		{"attach again", func() error {
			return drop(c.AttachGroupPolicy(ctx, &sdk.AttachGroupPolicyInput{GroupName: new("Dev"), PolicyArn: admin}))
		}, ""},
		{"attach unknown", func() error {
			return drop(c.AttachGroupPolicy(ctx, &sdk.AttachGroupPolicyInput{GroupName: new("Dev"), PolicyArn: new("arn:aws:iam::aws:policy/None")}))
		}, "NoSuchEntity: Policy arn:aws:iam::aws:policy/None does not exist or is not attachable."},
		{"attach no ARN", func() error {
			return drop(c.AttachGroupPolicy(ctx, &sdk.AttachGroupPolicyInput{GroupName: new("Dev"), PolicyArn: new("something-that-is-no-arn")}))
		}, "InvalidInput: ARN something-that-is-no-arn is not valid."},
		{"remove", func() error {
			return drop(c.RemoveUserFromGroup(ctx, &sdk.RemoveUserFromGroupInput{GroupName: new("Dev"), UserName: new("alice")}))
		}, ""},
		{"the former member may not", func() error { return drop(alice.GetGroup(ctx, &sdk.GetGroupInput{GroupName: new("Dev")})) }, "AccessDenied: "},
		{"group with inline policy", func() error { return drop(c.DeleteGroup(ctx, &sdk.DeleteGroupInput{GroupName: new("Dev")})) },
			"DeleteConflict: Cannot delete entity, must delete policies first."},
		{"delete policy", func() error {
			return drop(c.DeleteGroupPolicy(ctx, &sdk.DeleteGroupPolicyInput{GroupName: new("Dev"), PolicyName: new("p")}))
		}, ""},
		{"delete policy again", func() error {
			return drop(c.DeleteGroupPolicy(ctx, &sdk.DeleteGroupPolicyInput{GroupName: new("Dev"), PolicyName: new("p")}))
		}, "NoSuchEntity: The group policy with name p cannot be found."},
		{"group with attached policy", func() error { return drop(c.DeleteGroup(ctx, &sdk.DeleteGroupInput{GroupName: new("Dev")})) },
			"DeleteConflict: Cannot delete entity, must detach all policies first."},
		{"detach", func() error {
			return drop(c.DetachGroupPolicy(ctx, &sdk.DetachGroupPolicyInput{GroupName: new("Dev"), PolicyArn: admin}))
		}, ""},
		{"detach again", func() error {
			return drop(c.DetachGroupPolicy(ctx, &sdk.DetachGroupPolicyInput{GroupName: new("Dev"), PolicyArn: admin}))
		}, "NoSuchEntity: Policy arn:aws:iam::aws:policy/ReadOnlyAccess was not found."},
		{"delete", func() error { return drop(c.DeleteGroup(ctx, &sdk.DeleteGroupInput{GroupName: new("Dev")})) }, ""},
		{"delete again", func() error { return drop(c.DeleteGroup(ctx, &sdk.DeleteGroupInput{GroupName: new("Dev")})) },
			"NoSuchEntity: The group with name Dev cannot be found."},
	})
	if r := w.lastRecord(); r["eventName"] != "DeleteGroup" || r["errorCode"] != "NoSuchEntity" || r["awsRegion"] != "us-east-1" || r["readOnly"] != false {
		t.Errorf("the record %v", r)
	}
}

// TestGroupRename: members and policies follow a group to its new name.
func TestGroupRename(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	w.must(drop(c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: new("a")})))
	w.must(drop(c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: new("taken")})))
	alice := w.user("alice", `{"Effect":"Allow","Action":"iam:UpdateGroup","Resource":"arn:aws:iam::111122223333:group/a"}`)
	w.must(drop(c.AddUserToGroup(ctx, &sdk.AddUserToGroupInput{GroupName: new("a"), UserName: new("alice")})))
	w.must(drop(c.PutGroupPolicy(ctx, &sdk.PutGroupPolicyInput{GroupName: new("a"), PolicyName: new("p"),
		PolicyDocument: document(`{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*"}`)})))
	w.try([]attempt{
		{"taken", func() error {
			return drop(c.UpdateGroup(ctx, &sdk.UpdateGroupInput{GroupName: new("a"), NewGroupName: new("TAKEN")}))
		}, "EntityAlreadyExists: Group with name TAKEN already exists."},
		{"not allowed on the new name", func() error {
			return drop(alice.UpdateGroup(ctx, &sdk.UpdateGroupInput{GroupName: new("a"), NewGroupName: new("b")}))
		}, "AccessDenied: User: arn:aws:iam::111122223333:user/alice is not authorized to perform: iam:UpdateGroup on resource: arn:aws:iam::111122223333:group/b"},
		{"rename", func() error {
			return drop(c.UpdateGroup(ctx, &sdk.UpdateGroupInput{GroupName: new("a"), NewGroupName: new("b"), NewPath: new("/x/")}))
		}, ""},
		{"old name", func() error { return drop(c.GetGroup(ctx, &sdk.GetGroupInput{GroupName: new("a")})) }, "NoSuchEntity: "},
		{"the member still may", func() error { return drop(alice.ListUsers(ctx, &sdk.ListUsersInput{})) }, ""},
	})
	w.restart()
	got, err := c.GetGroup(ctx, &sdk.GetGroupInput{GroupName: new("b")})
	w.must(err)
	if *got.Group.Arn != "arn:aws:iam::111122223333:group/x/b" || len(got.Users) != 1 || *got.Users[0].UserName != "alice" {
		t.Errorf("after the rename and a restart: %+v", got)
	}
	p, err := c.GetGroupPolicy(ctx, &sdk.GetGroupPolicyInput{GroupName: new("b"), PolicyName: new("p")})
	w.must(err)
	if want := "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22iam%3AListUsers%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D"; *p.PolicyDocument != want {
		t.Errorf("the document is %s", *p.PolicyDocument)
	}
}

// TestGroupPages: lists come in pages, in the order of names, below a path.
func TestGroupPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := w.ctx, w.admin
	w.user("alice", "")
	var want []string
	for i := range 10 {
		name := fmt.Sprintf("g%d", i)
		want = append(want, name)
		w.must(drop(c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: &name, Path: new(fmt.Sprintf("/p%d/", i%2))})))
		w.must(drop(c.AddUserToGroup(ctx, &sdk.AddUserToGroupInput{GroupName: &name, UserName: new("alice")})))
	}
	w.must(drop(c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: new("zz")})))
	w.try([]attempt{
		{"groups per user", func() error {
			return drop(c.AddUserToGroup(ctx, &sdk.AddUserToGroupInput{GroupName: new("zz"), UserName: new("alice")}))
		}, "LimitExceeded: Cannot exceed quota for GroupsPerUser: 10"},
		{"no page", func() error { return drop(c.ListGroups(ctx, &sdk.ListGroupsInput{MaxItems: new(int32(0))})) }, "ValidationError: 1 validation error detected: "},
		{"bad marker", func() error { return drop(c.ListGroups(ctx, &sdk.ListGroupsInput{Marker: new("???")})) }, "ValidationError: Invalid Marker."},
	})
	got, calls := pages(t, func(m *string) ([]string, *string, bool, error) {
		o, err := c.ListGroupsForUser(ctx, &sdk.ListGroupsForUserInput{UserName: new("alice"), MaxItems: new(int32(3)), Marker: m})
		if err != nil {
			return nil, nil, false, err
		}
		var names []string
		for _, g := range o.Groups {
			names = append(names, *g.GroupName)
		}
		return names, o.Marker, o.IsTruncated, nil
	})
	if d := cmp.Diff(want, got); d != "" || calls != 4 {
		t.Errorf("groups of the user in %d pages: %s", calls, d)
	}
	got, _ = pages(t, func(m *string) ([]string, *string, bool, error) {
		o, err := c.ListGroups(ctx, &sdk.ListGroupsInput{PathPrefix: new("/p1/"), MaxItems: new(int32(2)), Marker: m})
		if err != nil {
			return nil, nil, false, err
		}
		var names []string
		for _, g := range o.Groups {
			names = append(names, *g.GroupName)
		}
		return names, o.Marker, o.IsTruncated, nil
	})
	if d := cmp.Diff([]string{"g1", "g3", "g5", "g7", "g9"}, got); d != "" {
		t.Error(d)
	}
}
