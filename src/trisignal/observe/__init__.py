"""Decorators, context managers and measurements that users write."""
