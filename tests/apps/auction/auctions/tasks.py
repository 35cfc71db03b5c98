from celery import shared_task

from . import bidding


@shared_task
def close_due_auctions() -> int:
    return bidding.close_due_auctions()
