# $1: how many versions of the package there are after this step.
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload || :
if [ "$1" -eq 1 ]; then
	# Whether a service starts by itself is the distribution's to say, by its presets.
	systemctl preset portreeve.service || :
else
	systemctl try-restart portreeve.service || :
fi
