"""The scales at which runs are made."""



#: Profiles in the order in which a page prefers their records.
PREFERRED = ("paper", "imagenet20", "short-training", "small")
