package iam

import (
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"spoor/internal/call"
)

func (s *api) groupOperations() []call.Operation {
	return []call.Operation{
		op("CreateGroup", func(c *call.Call, in *sdk.CreateGroupInput) target {
			return onPath(c, "group", in.Path, str(in.GroupName))
		}, s.createGroup),
		op("GetGroup", func(c *call.Call, in *sdk.GetGroupInput) target { return s.onGroup(c, in.GroupName) }, s.getGroup, call.ReadOnly),
		op("ListGroups", func(c *call.Call, in *sdk.ListGroupsInput) target { return onPath(c, "group", in.PathPrefix, "") }, s.listGroups, call.ReadOnly),
		opEach("UpdateGroup", s.mayRenameGroup, s.updateGroup),
		op("DeleteGroup", func(c *call.Call, in *sdk.DeleteGroupInput) target { return s.onGroup(c, in.GroupName) }, s.deleteGroup),
		op("AddUserToGroup", func(c *call.Call, in *sdk.AddUserToGroupInput) target { return s.onGroup(c, in.GroupName) }, s.addUserToGroup),
		op("RemoveUserFromGroup", func(c *call.Call, in *sdk.RemoveUserFromGroupInput) target { return s.onGroup(c, in.GroupName) }, s.removeUserFromGroup),
		op("ListGroupsForUser", func(c *call.Call, in *sdk.ListGroupsForUserInput) target { return s.onUser(c, in.UserName) }, s.listGroupsForUser, call.ReadOnly),
	}
}

func (s *api) groupGrantOperations() []call.Operation {
	return []call.Operation{
		op("PutGroupPolicy", func(c *call.Call, in *sdk.PutGroupPolicyInput) target { return s.onGroup(c, in.GroupName) }, s.putGroupPolicy),
		op("GetGroupPolicy", func(c *call.Call, in *sdk.GetGroupPolicyInput) target { return s.onGroup(c, in.GroupName) }, s.getGroupPolicy, call.ReadOnly),
		op("DeleteGroupPolicy", func(c *call.Call, in *sdk.DeleteGroupPolicyInput) target { return s.onGroup(c, in.GroupName) }, s.deleteGroupPolicy),
		op("ListGroupPolicies", func(c *call.Call, in *sdk.ListGroupPoliciesInput) target { return s.onGroup(c, in.GroupName) }, s.listGroupPolicies, call.ReadOnly),
		op("AttachGroupPolicy", func(c *call.Call, in *sdk.AttachGroupPolicyInput) target {
			return s.onGroup(c, in.GroupName).policy(in.PolicyArn)
		}, s.attachGroupPolicy),
		op("DetachGroupPolicy", func(c *call.Call, in *sdk.DetachGroupPolicyInput) target {
			return s.onGroup(c, in.GroupName).policy(in.PolicyArn)
		}, s.detachGroupPolicy),
		op("ListAttachedGroupPolicies", func(c *call.Call, in *sdk.ListAttachedGroupPoliciesInput) target { return s.onGroup(c, in.GroupName) },
			s.listAttachedGroup, call.ReadOnly),
	}
}

// mayRenameGroup: as mayRenameUser (IAM API, UpdateGroup).
func (s *api) mayRenameGroup(c *call.Call, in *sdk.UpdateGroupInput) []call.Permission {
	from := s.onGroup(c, in.GroupName)
	perms := []call.Permission{from.action("iam:UpdateGroup")}
	if to := renamed(from.arn, in.NewPath, in.NewGroupName); to != from.arn {
		perms = append(perms, target{arn: to}.action("iam:UpdateGroup"))
	}
	return perms
}

func (a *account) sdkGroup(g *group) types.Group {
	return types.Group{Arn: new(a.groupARN(g)), CreateDate: new(g.Created), GroupId: new(g.ID), GroupName: new(g.Name), Path: new(g.Path)}
}

// group finds a group of the call's account for reading.
func (s *api) group(c *call.Call, name *string) (*account, *group, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, nil, err
	}
	g, err := findGroup(a, name)
	return a, g, err
}

// changeGroup runs fn on a copy of a group and keeps it.
func (s *api) changeGroup(c *call.Call, name *string, fn func(ch *change, g *group) error) error {
	ch, err := s.d.begin(c)
	if err != nil {
		return err
	}
	old, err := findGroup(ch.acc, name)
	if err != nil {
		return err
	}
	g := old.copy()
	if err := fn(ch, g); err != nil {
		return err
	}
	return ch.setGroup(old, g)
}

func (s *api) createGroup(c *call.Call, in *sdk.CreateGroupInput) (*sdk.CreateGroupOutput, error) {
	ch, err := s.d.begin(c)
	if err != nil {
		return nil, err
	}
	name := str(in.GroupName)
	if ch.acc.groups[fold(name)] != nil {
		return nil, groupExists(name)
	}
	if err := quota(len(ch.acc.groups), maxGroups, "GroupsPerAccount"); err != nil {
		return nil, err
	}
	g := &group{ID: newID(prefixGroup), Name: name, Path: pathOr(in.Path), Created: s.d.wholeSecond()}
	if err := ch.setGroup(nil, g); err != nil {
		return nil, err
	}
	return &sdk.CreateGroupOutput{Group: new(ch.acc.sdkGroup(g))}, nil
}

func groupExists(name string) error { return alreadyExists("Group with name %s already exists.", name) }

// getGroup gives the group with a page of its members.
func (s *api) getGroup(c *call.Call, in *sdk.GetGroupInput) (*sdk.GetGroupOutput, error) {
	a, g, err := s.group(c, in.GroupName)
	if err != nil {
		return nil, err
	}
	part, next, err := page(a.members(g), in.Marker, in.MaxItems, func(u *user) string { return fold(u.Name) })
	if err != nil {
		return nil, err
	}
	return &sdk.GetGroupOutput{Group: new(a.sdkGroup(g)), Users: convert(part, a.listedUser), IsTruncated: next != nil, Marker: next}, nil
}

func (s *api) listGroups(c *call.Call, in *sdk.ListGroupsInput) (*sdk.ListGroupsOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	all := byName(a.groups, in.PathPrefix, func(g *group) string { return g.Path })
	part, next, err := page(all, in.Marker, in.MaxItems, func(g *group) string { return fold(g.Name) })
	if err != nil {
		return nil, err
	}
	return &sdk.ListGroupsOutput{Groups: convert(part, a.sdkGroup), IsTruncated: next != nil, Marker: next}, nil
}

func (s *api) updateGroup(c *call.Call, in *sdk.UpdateGroupInput) (*sdk.UpdateGroupOutput, error) {
	err := s.changeGroup(c, in.GroupName, func(ch *change, g *group) error {
		if n := str(in.NewGroupName); n != "" {
			if other := ch.acc.groups[fold(n)]; other != nil && other.ID != g.ID {
				return groupExists(n)
			}
			g.Name = n
		}
		if p := str(in.NewPath); p != "" {
			g.Path = p
		}
		return nil
	})
	return &sdk.UpdateGroupOutput{}, err
}

func (s *api) deleteGroup(c *call.Call, in *sdk.DeleteGroupInput) (*sdk.DeleteGroupOutput, error) {
	ch, err := s.d.begin(c)
	if err != nil {
		return nil, err
	}
	g, err := findGroup(ch.acc, in.GroupName)
	if err != nil {
		return nil, err
	}
	switch {
	case len(ch.acc.members(g)) > 0:
		return nil, deleteConflict("Cannot delete entity, must remove users from group first.")
	case len(g.Inline) > 0:
		return nil, deleteConflict("Cannot delete entity, must delete policies first.")
	case len(g.Attached) > 0:
		return nil, deleteConflict("Cannot delete entity, must detach all policies first.")
	}
	return &sdk.DeleteGroupOutput{}, ch.setGroup(g, nil)
}

// addUserToGroup: adding a member again is no error.
func (s *api) addUserToGroup(c *call.Call, in *sdk.AddUserToGroupInput) (*sdk.AddUserToGroupOutput, error) {
	ch, err := s.d.begin(c)
	if err != nil {
		return nil, err
	}
	g, err := findGroup(ch.acc, in.GroupName)
	if err != nil {
		return nil, err
	}
	old, err := findUser(ch.acc, c, in.UserName)
	if err != nil {
		return nil, err
	}
	if slices.Contains(old.Groups, g.ID) {
		return &sdk.AddUserToGroupOutput{}, nil
	}
	if err := quota(len(old.Groups), maxGroupsPerUser, "GroupsPerUser"); err != nil {
		return nil, err
	}
	u := old.copy()
	u.Groups = append(u.Groups, g.ID)
	return &sdk.AddUserToGroupOutput{}, ch.setUser(old, u)
}

// removeUserFromGroup: removing who is no member is no error, as adding a
// member again is none.
func (s *api) removeUserFromGroup(c *call.Call, in *sdk.RemoveUserFromGroupInput) (*sdk.RemoveUserFromGroupOutput, error) {
	ch, err := s.d.begin(c)
	if err != nil {
		return nil, err
	}
	g, err := findGroup(ch.acc, in.GroupName)
	if err != nil {
		return nil, err
	}
	old, err := findUser(ch.acc, c, in.UserName)
	if err != nil {
		return nil, err
	}
	i := slices.Index(old.Groups, g.ID)
	if i < 0 {
		return &sdk.RemoveUserFromGroupOutput{}, nil
	}
	u := old.copy()
	u.Groups = slices.Delete(u.Groups, i, i+1)
	return &sdk.RemoveUserFromGroupOutput{}, ch.setUser(old, u)
}

// groupsOf are a user's groups, by name.
func (a *account) groupsOf(u *user) []*group {
	out := make([]*group, 0, len(u.Groups))
	for _, id := range u.Groups {
		if g := a.groupByID(id); g != nil {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(x, y *group) int { return compareFold(x.Name, y.Name) })
	return out
}

func (s *api) listGroupsForUser(c *call.Call, in *sdk.ListGroupsForUserInput) (*sdk.ListGroupsForUserOutput, error) {
	a, u, err := s.user(c, in.UserName)
	if err != nil {
		return nil, err
	}
	part, next, err := page(a.groupsOf(u), in.Marker, in.MaxItems, func(g *group) string { return fold(g.Name) })
	return &sdk.ListGroupsForUserOutput{Groups: convert(part, a.sdkGroup), IsTruncated: next != nil, Marker: next}, err
}

func (s *api) putGroupPolicy(c *call.Call, in *sdk.PutGroupPolicyInput) (*sdk.PutGroupPolicyOutput, error) {
	err := s.changeGroup(c, in.GroupName, func(_ *change, g *group) error {
		return s.putInline(&g.grants, in.PolicyName, in.PolicyDocument, maxInlineGroup, "group "+g.Name)
	})
	return &sdk.PutGroupPolicyOutput{}, err
}

func (s *api) getGroupPolicy(c *call.Call, in *sdk.GetGroupPolicyInput) (*sdk.GetGroupPolicyOutput, error) {
	_, g, err := s.group(c, in.GroupName)
	if err != nil {
		return nil, err
	}
	d, ok := g.Inline[str(in.PolicyName)]
	if !ok {
		return nil, noSuchEntity("The group policy with name %s cannot be found.", str(in.PolicyName))
	}
	return &sdk.GetGroupPolicyOutput{GroupName: new(g.Name), PolicyName: in.PolicyName, PolicyDocument: encoded(d)}, nil
}

func (s *api) deleteGroupPolicy(c *call.Call, in *sdk.DeleteGroupPolicyInput) (*sdk.DeleteGroupPolicyOutput, error) {
	err := s.changeGroup(c, in.GroupName, func(_ *change, g *group) error { return dropInline(&g.grants, "group", str(in.PolicyName)) })
	return &sdk.DeleteGroupPolicyOutput{}, err
}

func (s *api) listGroupPolicies(c *call.Call, in *sdk.ListGroupPoliciesInput) (*sdk.ListGroupPoliciesOutput, error) {
	_, g, err := s.group(c, in.GroupName)
	if err != nil {
		return nil, err
	}
	names, next, err := inlineNames(&g.grants, in.Marker, in.MaxItems)
	return &sdk.ListGroupPoliciesOutput{PolicyNames: names, IsTruncated: next != nil, Marker: next}, err
}

func (s *api) attachGroupPolicy(c *call.Call, in *sdk.AttachGroupPolicyInput) (*sdk.AttachGroupPolicyOutput, error) {
	err := s.changeGroup(c, in.GroupName, func(ch *change, g *group) error {
		return s.attach(ch, &g.grants, in.PolicyArn, "PoliciesPerGroup")
	})
	return &sdk.AttachGroupPolicyOutput{}, err
}

func (s *api) detachGroupPolicy(c *call.Call, in *sdk.DetachGroupPolicyInput) (*sdk.DetachGroupPolicyOutput, error) {
	err := s.changeGroup(c, in.GroupName, func(_ *change, g *group) error { return detach(&g.grants, in.PolicyArn) })
	return &sdk.DetachGroupPolicyOutput{}, err
}

func (s *api) listAttachedGroup(c *call.Call, in *sdk.ListAttachedGroupPoliciesInput) (*sdk.ListAttachedGroupPoliciesOutput, error) {
	a, g, err := s.group(c, in.GroupName)
	if err != nil {
		return nil, err
	}
	list, next, err := s.attached(a, &g.grants, in.PathPrefix, in.Marker, in.MaxItems)
	return &sdk.ListAttachedGroupPoliciesOutput{AttachedPolicies: list, IsTruncated: next != nil, Marker: next}, err
}
