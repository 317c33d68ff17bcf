package iam

import (
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"spoor/internal/call"
)

func (s *api) profileOperations() []call.Operation {
	return []call.Operation{
		op("CreateInstanceProfile", func(c *call.Call, in *sdk.CreateInstanceProfileInput) target {
			return onPath(c, "instance-profile", in.Path, str(in.InstanceProfileName)).requestTags(in.Tags)
		}, s.createProfile),
		op("GetInstanceProfile", func(c *call.Call, in *sdk.GetInstanceProfileInput) target {
			return s.onProfile(c, in.InstanceProfileName)
		},
			s.getProfile, call.ReadOnly),
		op("ListInstanceProfiles", func(c *call.Call, in *sdk.ListInstanceProfilesInput) target {
			return onPath(c, "instance-profile", in.PathPrefix, "")
		}, s.listProfiles, call.ReadOnly),
		op("ListInstanceProfilesForRole", func(c *call.Call, in *sdk.ListInstanceProfilesForRoleInput) target { return s.onRole(c, in.RoleName) },
			s.listProfilesForRole, call.ReadOnly),
		op("DeleteInstanceProfile", func(c *call.Call, in *sdk.DeleteInstanceProfileInput) target {
			return s.onProfile(c, in.InstanceProfileName)
		}, s.deleteProfile),
		opEach("AddRoleToInstanceProfile", func(c *call.Call, in *sdk.AddRoleToInstanceProfileInput) []call.Permission {
			// Whoever puts a role in a profile hands it on (IAM API, AddRoleToInstanceProfile).
			return []call.Permission{s.onProfile(c, in.InstanceProfileName).action("iam:AddRoleToInstanceProfile"),
				s.onRole(c, in.RoleName).action("iam:PassRole")}
		}, s.addRoleToProfile),
		op("RemoveRoleFromInstanceProfile", func(c *call.Call, in *sdk.RemoveRoleFromInstanceProfileInput) target {
			return s.onProfile(c, in.InstanceProfileName)
		}, s.removeRoleFromProfile),
		op("TagInstanceProfile", func(c *call.Call, in *sdk.TagInstanceProfileInput) target {
			return s.onProfile(c, in.InstanceProfileName).requestTags(in.Tags)
		}, s.tagProfile),
		op("UntagInstanceProfile", func(c *call.Call, in *sdk.UntagInstanceProfileInput) target {
			return s.onProfile(c, in.InstanceProfileName).with("aws:TagKeys", in.TagKeys...)
		}, s.untagProfile),
		op("ListInstanceProfileTags", func(c *call.Call, in *sdk.ListInstanceProfileTagsInput) target {
			return s.onProfile(c, in.InstanceProfileName)
		},
			s.listProfileTags, call.ReadOnly),
	}
}

func (s *api) onProfile(c *call.Call, name *string) target {
	if a := s.d.account(c.AccountID); a != nil {
		if p := a.profiles[fold(str(name))]; p != nil {
			return target{arn: a.profileARN(p)}.resourceTags(p.Tags)
		}
	}
	return target{arn: accountARN(c, "instance-profile/"+str(name))}
}

// profileOf is an instance profile that holds the role, or nil.
func (a *account) profileOf(r *role) *instanceProfile {
	for _, p := range a.profiles {
		if p.Role == r.ID {
			return p
		}
	}
	return nil
}

// profilesOf are the instance profiles that hold the role, by name.
func (a *account) profilesOf(r *role) []*instanceProfile {
	var out []*instanceProfile
	for _, k := range sortedKeys(a.profiles) {
		if p := a.profiles[k]; p.Role == r.ID {
			out = append(out, p)
		}
	}
	return out
}

// listedProfile is an instance profile as lists show it: without tags.
func (a *account) listedProfile(p *instanceProfile) types.InstanceProfile {
	out := types.InstanceProfile{Arn: new(a.profileARN(p)), CreateDate: new(p.Created), InstanceProfileId: new(p.ID), InstanceProfileName: new(p.Name),
		Path: new(p.Path), Roles: []types.Role{}}
	if r := a.roleByID(p.Role); r != nil {
		shown := a.listedRole(r)
		shown.MaxSessionDuration, shown.Description = nil, nil
		out.Roles = append(out.Roles, shown)
	}
	return out
}

func findProfile(a *account, name *string) (*instanceProfile, error) {
	if p := a.profiles[fold(str(name))]; p != nil {
		return p, nil
	}
	return nil, noProfile(str(name))
}

// profile finds an instance profile of the call's account for reading.
func (s *api) profile(c *call.Call, name *string) (*account, *instanceProfile, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, nil, err
	}
	p, err := findProfile(a, name)
	return a, p, err
}

// changeProfile runs fn on a copy of an instance profile and keeps it.
func (s *api) changeProfile(c *call.Call, name *string, fn func(ch *change, p *instanceProfile) error) error {
	ch, err := s.d.begin(c)
	if err != nil {
		return err
	}
	old, err := findProfile(ch.acc, name)
	if err != nil {
		return err
	}
	p := old.copy()
	if err := fn(ch, p); err != nil {
		return err
	}
	return ch.setProfile(old, p)
}

func (s *api) createProfile(c *call.Call, in *sdk.CreateInstanceProfileInput) (*sdk.CreateInstanceProfileOutput, error) {
	ch, err := s.d.begin(c)
	if err != nil {
		return nil, err
	}
	name := str(in.InstanceProfileName)
	if ch.acc.profiles[fold(name)] != nil {
		return nil, alreadyExists("Instance Profile %s already exists.", name)
	}
	if err := quota(len(ch.acc.profiles), maxInstanceProfiles, "InstanceProfilesPerAccount"); err != nil {
		return nil, err
	}
	p := &instanceProfile{ID: newID(prefixProfile), Name: name, Path: pathOr(in.Path), Created: s.d.wholeSecond()}
	if p.Tags, err = setTags(nil, in.Tags); err != nil {
		return nil, err
	}
	if err := ch.setProfile(nil, p); err != nil {
		return nil, err
	}
	out := ch.acc.listedProfile(p)
	out.Tags = tagsOf(p.Tags)
	return &sdk.CreateInstanceProfileOutput{InstanceProfile: &out}, nil
}

func (s *api) getProfile(c *call.Call, in *sdk.GetInstanceProfileInput) (*sdk.GetInstanceProfileOutput, error) {
	a, p, err := s.profile(c, in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	out := a.listedProfile(p)
	out.Tags = tagList(p.Tags)
	return &sdk.GetInstanceProfileOutput{InstanceProfile: &out}, nil
}

func (s *api) listProfiles(c *call.Call, in *sdk.ListInstanceProfilesInput) (*sdk.ListInstanceProfilesOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	all := byName(a.profiles, in.PathPrefix, func(p *instanceProfile) string { return p.Path })
	part, next, err := page(all, in.Marker, in.MaxItems, func(p *instanceProfile) string { return fold(p.Name) })
	return &sdk.ListInstanceProfilesOutput{InstanceProfiles: convert(part, a.listedProfile), IsTruncated: next != nil, Marker: next}, err
}

func (s *api) listProfilesForRole(c *call.Call, in *sdk.ListInstanceProfilesForRoleInput) (*sdk.ListInstanceProfilesForRoleOutput, error) {
	a, r, err := s.role(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	part, next, err := page(a.profilesOf(r), in.Marker, in.MaxItems, func(p *instanceProfile) string { return fold(p.Name) })
	return &sdk.ListInstanceProfilesForRoleOutput{InstanceProfiles: convert(part, a.listedProfile), IsTruncated: next != nil, Marker: next}, err
}

func (s *api) deleteProfile(c *call.Call, in *sdk.DeleteInstanceProfileInput) (*sdk.DeleteInstanceProfileOutput, error) {
	ch, err := s.d.begin(c)
	if err != nil {
		return nil, err
	}
	p, err := findProfile(ch.acc, in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	if p.Role != "" {
		return nil, deleteConflict("Cannot delete entity, must remove roles from instance profile first.")
	}
	return &sdk.DeleteInstanceProfileOutput{}, ch.setProfile(p, nil)
}

func (s *api) addRoleToProfile(c *call.Call, in *sdk.AddRoleToInstanceProfileInput) (*sdk.AddRoleToInstanceProfileOutput, error) {
	err := s.changeProfile(c, in.InstanceProfileName, func(ch *change, p *instanceProfile) error {
		r, err := findRole(ch.acc, in.RoleName)
		if err != nil {
			return err
		}
		if p.Role != "" {
			return limitExceeded("InstanceSessionsPerInstanceProfile", 1)
		}
		p.Role = r.ID
		return nil
	})
	return &sdk.AddRoleToInstanceProfileOutput{}, err
}

func (s *api) removeRoleFromProfile(c *call.Call, in *sdk.RemoveRoleFromInstanceProfileInput) (*sdk.RemoveRoleFromInstanceProfileOutput, error) {
	err := s.changeProfile(c, in.InstanceProfileName, func(ch *change, p *instanceProfile) error {
		r, err := findRole(ch.acc, in.RoleName)
		if err != nil {
			return err
		}
		if p.Role != r.ID {
			return noSuchEntity("The role with name %s cannot be found.", r.Name)
		}
		p.Role = ""
		return nil
	})
	return &sdk.RemoveRoleFromInstanceProfileOutput{}, err
}

func (s *api) tagProfile(c *call.Call, in *sdk.TagInstanceProfileInput) (*sdk.TagInstanceProfileOutput, error) {
	err := s.changeProfile(c, in.InstanceProfileName, func(_ *change, p *instanceProfile) (err error) {
		p.Tags, err = setTags(p.Tags, in.Tags)
		return err
	})
	return &sdk.TagInstanceProfileOutput{}, err
}

func (s *api) untagProfile(c *call.Call, in *sdk.UntagInstanceProfileInput) (*sdk.UntagInstanceProfileOutput, error) {
	err := s.changeProfile(c, in.InstanceProfileName, func(_ *change, p *instanceProfile) error {
		p.Tags = dropTags(p.Tags, in.TagKeys)
		return nil
	})
	return &sdk.UntagInstanceProfileOutput{}, err
}

func (s *api) listProfileTags(c *call.Call, in *sdk.ListInstanceProfileTagsInput) (*sdk.ListInstanceProfileTagsOutput, error) {
	_, p, err := s.profile(c, in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	part, next, err := pageTags(p.Tags, in.Marker, in.MaxItems)
	return &sdk.ListInstanceProfileTagsOutput{Tags: tagList(part), IsTruncated: next != nil, Marker: next}, err
}
