from django.db import migrations, models
from django.db.models.functions import Collate, Lower

import closient.accounts.emails
import closient.accounts.models
from closient.accounts.emails import normal_email


def store_normal_forms(apps, schema_editor):
    """Give each address its normal form; refuse where two users would get the same one."""
    User = apps.get_model("accounts", "User")
    users = User.objects.using(schema_editor.connection.alias)
    by_form = {}
    for user in users.only("pk", "email").order_by("pk").iterator():
        by_form.setdefault(normal_email(user.email), []).append(user)
    same = [[user.email for user in found] for found in by_form.values() if len(found) > 1]
    if same:
        listed = "; ".join(" and ".join(emails) for emails in same)
        raise RuntimeError(
            "These e-mail addresses differ only in how they are written, and each belongs to a "
            f"user of its own: {listed}. Change or delete all but one of each, then migrate again."
        )
    for form, [user] in by_form.items():
        if user.email != form:
            users.filter(pk=user.pk).update(email=form)


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0003_allowed_origins"),
    ]

    operations = [
        migrations.RunPython(store_normal_forms, migrations.RunPython.noop),
        migrations.RemoveConstraint(
            model_name="user",
            name="accounts_user_email_unique",
        ),
        migrations.AlterField(
            model_name="user",
            name="email",
            field=closient.accounts.emails.EmailAddressField(
                max_length=254, verbose_name="e-mail address"
            ),
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.UniqueConstraint(
                fields=("email",),
                name="accounts_user_email_unique",
                violation_error_code="unique",
                violation_error_message="A user with this e-mail address exists already.",
            ),
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("email", Lower(Collate("email", "C"))),
                    closient.accounts.models.IsNfkc("email"),
                ),
                name="accounts_user_email_normal",
            ),
        ),
    ]
