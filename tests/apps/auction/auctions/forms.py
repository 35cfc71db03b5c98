from django import forms


class BidForm(forms.Form):
    bidder = forms.CharField(max_length=40)
    amount = forms.IntegerField(min_value=1, max_value=2_000_000_000)
