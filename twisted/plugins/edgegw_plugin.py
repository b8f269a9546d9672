"""Makes ``twistd edgegw`` exist; what it does is imported when it is asked for."""
from twisted.application.service import ServiceMaker

edgegw = ServiceMaker("edgegw", "edgegw.tap", "A pluggable mTLS edge gateway", "edgegw")
