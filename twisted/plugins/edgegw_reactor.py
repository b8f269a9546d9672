"""Makes ``twistd --reactor=edgegw`` exist, nothing else."""
from twisted.application.reactors import Reactor

edgegw_reactor = Reactor("edgegw", "edgegw.reactor", "epoll(7) without a log context for each event.")
