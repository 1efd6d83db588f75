# $1 is 0 where the package goes for good, and not for a newer one.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
	systemctl disable --now portreeve.socket portreeve.service || :
fi
