"""Study protocols that are shipped; installed as ``emoclip_clinical.protocols``."""
