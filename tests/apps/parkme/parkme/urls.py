from django.urls import path

from . import views

urlpatterns = [
    path("", views.index),
    path("api/spots/", views.spots),
    path("api/bookings/", views.bookings),
    path("api/bookings/<int:booking_id>/", views.booking),
    path("health/", views.health),
]
